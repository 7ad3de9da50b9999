"""What is told ahead of a search: true by what was measured, in words, and once."""

import logging
import re
from fractions import Fraction
from pathlib import Path

import pytest
from clips import moving, write
from commands import FAST, Command

from bcodec.bitstream import VideoFormat
from bcodec.pipeline.forecast import forecast_passes, forecasting, readable_time
from bcodec.pipeline.journal import Journal
from bcodec.pipeline.passes import Encoded
from bcodec.pipeline.tally import Tally, unwatched
from bcodec.video import Damage

VIDEO = VideoFormat(64, 48, Fraction(25), Fraction(1, 25))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.04 seconds"),
        (119, "120 seconds"),
        (120, "2 minutes"),
        (754, "13 minutes"),
        (7199, "120 minutes"),
        (9000, "2.5 hours"),
        (172800, "2 days"),
    ],
)
def test_a_time_has_two_digits(seconds: float, words: str) -> None:
    assert readable_time(seconds) == words


@pytest.mark.parametrize(
    ("part_jobs", "jobs", "words"), [(1, 1, "50 minutes"), (4, 4, "13 minutes"), (2, 4, "13 minutes")]
)
def test_a_pass_takes_its_share_of_coding_and_all_of_reading(
    caplog: pytest.LogCaptureFixture, part_jobs: int, jobs: int, words: str
) -> None:
    """A tenth of the frames took 300 s to code, and 20 s to read: what is read is always all."""
    caplog.set_level(logging.INFO, "bcodec")
    tally, journal = Tally(VIDEO, 1000, unwatched, packets=100), Journal()
    journal.seconds = 300
    forecast_passes(Encoded(tally, journal, 0, Damage()), 300 / part_jobs + 20, 1000, part_jobs, jobs)
    assert caplog.messages == [f"a pass over all 1000 frames takes about {words}; 1 to 7 will be made"]


def test_the_beginning_of_a_video_foretells_the_rest_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bcodec")
    follow = forecasting(unwatched, gop_size=2)
    for total in (100, 35, None):
        tally = Tally(VIDEO, total, follow)
        for _ in range(total or 50):
            tally.count_packet(1000)
            tally.count_frame()
    (line,) = caplog.messages
    assert re.fullmatch(
        r"by the first 9 of 100 frames: about \S+ seconds in all, and 100.0 kB for pictures", line
    )


@pytest.mark.parametrize(
    ("goal", "told"), [(("--bitrate", "80k"), 1), (("--target-psnr", 20), 0), (("-q", 9), 0)]
)
def test_a_search_is_told_ahead(run: Command, tmp_path: Path, goal: tuple[object, ...], told: int) -> None:
    source = write(tmp_path / "in.y4m", moving(12))
    result = run("encode", source, "-o", tmp_path / "out.bcv", "--gop", 1, *goal, *FAST)
    assert result.err.count("a pass over all 12 frames takes about ") == told
    assert result.err.startswith("bcodec: a pass over") == bool(told)
