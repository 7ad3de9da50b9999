"""What is asked of an encode beyond the settings of its coder, and what of that contradicts itself."""

from __future__ import annotations

from dataclasses import dataclass

from bcodec.crew import Auto, Jobs
from bcodec.errors import UsageError

GOALS = {
    "qp": "-q",
    "bitrate": "--bitrate",
    "max_size": "--max-size",
    "target_psnr": "--target-psnr",
    "target_xpsnr": "--target-xpsnr",
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an encode must meet, and the way there.

    One goal at most: `bitrate` in bits per second, of the pictures; `max_size` in bytes, of the file;
    `target_psnr` in dB (YUV 6:1:1) or `target_xpsnr` in dB (luma), the mean of each GOP. Without one, quality
    is constant: that of Settings.qp.
    `jobs`: processes that code GOPs at the same time, Auto for as many as help, or a crew. `resume`: go on
    with the unfinished file that is there. `verify`: decode the file at the end. `filters`: measure SSIM
    and XPSNR, by FFmpeg's filters. Raises UsageError where these contradict each other.
    """

    bitrate: float | None = None
    max_size: float | None = None
    target_psnr: float | None = None
    target_xpsnr: float | None = None
    jobs: Jobs = 1
    resume: bool = False
    verify: bool = False
    filters: bool = False

    def __post_init__(self) -> None:
        goals = one_goal(
            bitrate=self.bitrate,
            max_size=self.max_size,
            target_psnr=self.target_psnr,
            target_xpsnr=self.target_xpsnr,
        )
        jobs = self.jobs if isinstance(self.jobs, int) else None
        for name, value in {**goals, "--jobs": jobs}.items():
            if value is not None and value <= 0:
                raise UsageError(f"{name} is {value:g}, not above 0")
        by_group = [name for name in goals if name in ("--target-psnr", "--target-xpsnr")]
        if by_group and self.resume:
            only = "--resume goes on where all GOPs have one quality (-q, --bitrate, --max-size), not with"
            raise UsageError(f"{only} {by_group[0]}")
        if by_group and self.jobs != 1 and not isinstance(self.jobs, Auto):
            option = "--jobs" if jobs else "--scheduler"
            raise UsageError(f"{by_group[0]} takes one GOP after the other: it cannot use {option}")

    @property
    def is_search(self) -> bool:
        """Whether all frames are coded several times, one pass after the other."""
        return bool(self.bitrate or self.max_size)

    @property
    def holds_quality(self) -> bool:
        """Whether each GOP is coded several times, in one pass."""
        return bool(self.target_psnr or self.target_xpsnr)

    @property
    def sees_pictures(self) -> bool:
        """Whether decoded pictures are measured by FFmpeg's filters."""
        return self.filters or self.target_xpsnr is not None

    def check_output(self, path: str) -> None:
        """Refuse standard output, -, for what must be read again: UsageError."""
        again = ["--resume"] * self.resume + ["--verify"] * self.verify
        if path == "-" and again:
            raise UsageError(f"{again[0]} needs a file; standard output cannot be read again")


def one_goal(**goals: float | None) -> dict[str, float]:
    """The goal that is not None by the name of its option; UsageError for more than one (see GOALS)."""
    found = {GOALS[name]: value for name, value in goals.items() if value is not None}
    if len(found) > 1:
        raise UsageError(f"{' and '.join(found)} contradict each other: one goal is all that can be met")
    return found
