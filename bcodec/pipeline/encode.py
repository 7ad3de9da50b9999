"""How a video becomes a .bcv file, as planned."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TextIO

from bcodec.encoder.encode import Settings
from bcodec.errors import UsageError
from bcodec.networks import Networks
from bcodec.pipeline.fit import fit, repeatable, rewritable
from bcodec.pipeline.forecast import forecasting
from bcodec.pipeline.opening import CodedVideo
from bcodec.pipeline.passes import Encoded, Passes
from bcodec.pipeline.plan import Plan
from bcodec.pipeline.tally import Follow, unwatched
from bcodec.pipeline.verify import verify_file
from bcodec.video import VideoReader
from bcodec.video.quality import has_xpsnr

QUALITY_MISSED = 0.2  # dB

log = logging.getLogger("bcodec")


def encode_file(
    reader: VideoReader,
    path: str,
    settings: Settings,
    networks: Networks,
    plan: Plan,
    *,
    reopen: Callable[[], VideoReader] | None = None,
    log_file: TextIO | None = None,
    follow: Follow = unwatched,
) -> Encoded:
    """Code the pictures of `reader`, and what lies beside them, into the file at `path` (- is stdout).

    A bitrate or a size takes several passes: `reopen` opens the video once more; without it, and without a
    copy that `reader` made, the frames are kept in a temporary file. The journal is written to `log_file`.
    Raises UsageError, VideoError, CodecError, GoalMissed and, where it is verified, Unreadable.
    """
    plan.check_output(path)
    if plan.target_xpsnr and not has_xpsnr(reader.format.width, reader.format.height):
        raise UsageError("--target-xpsnr: FFmpeg cannot measure the XPSNR of pictures so small or odd")
    reader.check_ahead()
    passes = Passes(networks, plan, forecasting(follow, settings.gop_size) if plan.holds_quality else follow)
    if plan.is_search:
        with rewritable(path) as file, repeatable(reader, reopen, passes) as read_again:
            encoded = fit(passes, read_again, file, settings, log_file)
    else:
        encoded = passes.run(reader, path, settings, log_file, resume=plan.resume)
    if plan.verify:
        with open(path, "rb") as coded:
            verify_file(CodedVideo.open(coded, path), networks, jobs=plan.jobs, follow=follow)
    if quality := encoded.journal.quality:
        for target, mean in ((plan.target_psnr, quality.psnr_yuv), (plan.target_xpsnr, quality.xpsnr_y)):
            if target and abs(mean - target) > QUALITY_MISSED:
                log.warning(f"no qp gives {target:g} dB; the mean is {mean:.2f} dB")
    return encoded
