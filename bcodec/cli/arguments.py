"""What the commands take: the kinds of values, the options that several commands share, what they ask for."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction
from functools import wraps
from importlib.util import find_spec
from math import isnan
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from click.core import ParameterSource

from bcodec.bitstream import MAX_AREA, MAX_SIDE, MIN_SIDE
from bcodec.bitstream.sidecar import StreamKind
from bcodec.cli.console import log
from bcodec.crew import Auto, Jobs
from bcodec.errors import UsageError
from bcodec.pipeline.moments import Part, Seconds

if TYPE_CHECKING:
    from bcodec.networks import Networks

HIGHEST_RATE = 90_000  # frames per second, the clock of MPEG: no camera means more
MOST_THREADS, MOST_JOBS = 256, 64
RAW_PIXELS = (  # as FFmpeg calls them; all but the first two are converted
    *("yuv420p", "yuv420p10le", "nv12", "nv21", "p010le", "yuv420p12le", "yuv420p16le"),
    *("yuv422p", "yuyv422", "uyvy422", "yuv422p10le", "p210le", "yuv444p", "yuv444p10le"),
    *("gray", "gray10le", "rgb24", "bgr24", "rgba", "bgra", "gbrp", "gbrp10le"),
)
LOG_LEVELS = ("error", "warning", "info", "debug")

FILE = click.Path(readable=False)  # not checked here: a shell completes it by what is there
FOLDER = click.Path(file_okay=False, readable=False)

T = TypeVar("T", bound=Callable[..., Any])


def size(value: str) -> tuple[int, int]:
    """Width and height in pixels, as 1920x1080."""
    found = re.fullmatch(r"(\d{1,6})x(\d{1,6})", value)
    if not found:
        raise click.BadParameter(f"{value!r} is not a size like 1920x1080")
    width, height = int(found[1]), int(found[2])
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE or width * height > MAX_AREA:
        largest = f"{MAX_SIDE}x{MAX_AREA // MAX_SIDE}"
        raise click.BadParameter(f"{value} is not within {MIN_SIDE}x{MIN_SIDE} to {largest} pixels")
    return width, height


def amount(value: str) -> float:
    """A number above 0 that may end in k, M or G (thousands, not 1024s)."""
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)([kKmMgG]?)", value)
    if not found or not float(found[1]):
        raise click.BadParameter(f"{value!r} is not an amount like 800k, 2.5M or 1G")
    return float(found[1]) * {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}[found[2].lower()]


def rate(value: str) -> Fraction:
    """Frames per second, as 25, 23.976 or 30000/1001."""
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6}|/0*[1-9]\d{0,5})?", value):
        raise click.BadParameter(f"{value!r} is not a rate like 25, 23.976 or 30000/1001")
    found = Fraction(value)
    if not 0 < found <= HIGHEST_RATE:
        raise click.BadParameter(f"{value} is not above 0 and at most {HIGHEST_RATE} frames per second")
    return found


class Number(click.FloatRange):
    """A number within a range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check it."""
        number = super().convert(value, param, ctx)
        if isnan(number):  # neither below nor above the range
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


class JobCount(click.IntRange):
    """A number of processes; None for "auto"."""

    name = "number of processes, or auto"

    def __init__(self) -> None:
        super().__init__(1, MOST_JOBS)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check it."""
        return None if value == "auto" else super().convert(value, param, ctx)


def scheduler(value: str) -> str:
    """Where a Dask scheduler is, as tcp://host:8786."""
    if not re.fullmatch(r"\w+://[^\s/]+:\d{1,5}", value):
        raise click.BadParameter(f"{value!r} is not an address like tcp://host:8786")
    return value


def jobs(help: str) -> Callable[[T], T]:
    """Add --jobs, which says so much about the processes, and --scheduler: a command gets both as `jobs`."""
    auto = "auto takes those that help, as many as --threads at most, and as there is memory for."

    def add(command: T) -> T:
        @wraps(command)
        def with_crew(*words: object, jobs: int | None, scheduler: str | None, **options: object) -> object:
            threads = cast("int | None", options["threads"])
            with _crew(jobs or Auto(threads), scheduler) as crew:
                return command(*words, jobs=crew, **options)

        count = click.option("--jobs", type=JobCount(), default="auto", metavar="N", help=f"{help} {auto}")
        others = click.option(
            "--scheduler",
            type=scheduler,
            metavar="ADDRESS",
            help="Let the workers of a Dask scheduler do it, instead of processes here: tcp://host:8786. The"
            " bytes are the same; needs bcodec[cluster].",
        )
        return cast(T, count(others(with_crew)))

    return add


def _crew(jobs: int | Auto, scheduler: str | None) -> AbstractContextManager[Jobs]:
    """Those that are to do the work, other machines only within the context; raises UsageError."""
    if scheduler is None:
        return nullcontext(jobs)
    if click.get_current_context().get_parameter_source("jobs") is not ParameterSource.DEFAULT:
        raise UsageError("--jobs and --scheduler contradict each other")
    if find_spec("distributed") is None:
        raise click.ClickException("--scheduler needs Dask: pip install 'bcodec[cluster]'")
    from bcodec.cluster import Cluster

    return Cluster(scheduler)


decoding_jobs = jobs("Processes that decode at the same time, each on one CPU thread.")


def moment(value: str) -> int | Seconds:
    """Frames, as 90, or a time, as 10s, 1:02.5 or 1:00:00."""
    if re.fullmatch(r"\d{1,9}", value):
        return int(value)
    if found := re.fullmatch(r"(\d{1,7}(?:\.\d{1,9})?)s", value):
        return Seconds(Fraction(found[1]))
    if found := re.fullmatch(r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2}(?:\.\d{1,9})?)", value):
        hours, minutes, seconds = int(found[1] or 0), int(found[2]), Fraction(found[3])
        if minutes < 60 and seconds < 60:
            return Seconds(hours * 3600 + minutes * 60 + seconds)
    raise click.BadParameter(f"{value!r} is neither frames, as 90, nor a time, as 10s or 1:02.5")


def _set_level(_: click.Context, __: click.Parameter, level: str) -> None:
    log.setLevel(level.upper())


def computing(command: T) -> T:
    """Add the options of every command that runs the networks."""
    options = [
        click.option(
            "--device",
            type=click.Choice(["auto", "cpu", "cuda"]),
            default="auto",
            help="Where to compute; auto decodes on a GPU where there is one, and encodes on the CPU, which"
            " is faster. What is decoded is the same on all.",
        ),
        click.option(
            "--threads",
            type=click.IntRange(1, MOST_THREADS),
            metavar="N",
            help="CPU threads: processes of --jobs auto at most, or the threads of a single one.  [default: a"
            " process a core, on one thread each]",
        ),
        click.option(
            "--log-level",
            type=click.Choice(LOG_LEVELS),
            default="info",
            expose_value=False,
            callback=_set_level,
            help="What to tell: error nothing but failures, warning also what is not kept, info also results"
            " and progress, debug everything.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def common(command: T) -> T:
    """Add the options that encode and decode share."""
    options = [
        click.option(
            "--start",
            type=moment,
            default="0",
            metavar="T",
            help="Where to begin: frames, as 90, or time, as 10s or 1:02.5.",
        ),
        click.option(
            "--duration", type=moment, metavar="T", help="How long at most, as for --start.  [default: all]"
        ),
        click.option("--frames", type=click.IntRange(1), metavar="N", help="Frames at most.  [default: all]"),
        computing,
        click.option("-y", "--overwrite", is_flag=True, help="Replace OUT where it exists."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def named_input(command: T) -> T:
    """Add -i, which other programs want before an input."""
    return click.option(
        "-i", "--input", "inputs", type=FILE, multiple=True, metavar="IN", help="Another way to give IN."
    )(command)


fps = click.option(
    "--fps",
    type=rate,
    metavar="R",
    help="A constant rate, in frames per second, instead of the times that IN has: 25, 30000/1001. Sound"
    " keeps its times.",
)
raw_size = click.option("--size", type=size, metavar="WxH", help="Size of raw video, in pixels.")
raw_pixels = click.option(
    "--pix-fmt",
    type=click.Choice(RAW_PIXELS),
    metavar="F",
    help="Samples of raw video, in FFmpeg's names: yuv420p, which is the default, and yuv420p10le, 10 bits in"
    f" two bytes, or to be converted: {', '.join(RAW_PIXELS[2:])}.",
)


def raw_video(command: T) -> T:
    """Add the options that say what raw video does not, and only that."""
    rate_of_raw = click.option(
        "--fps",
        type=rate,
        metavar="R",
        help="Rate of raw video or numbered pictures, frames per second: 25, 30000/1001.",
    )
    return raw_size(raw_pixels(rate_of_raw(command)))


def streams(command: T) -> T:
    """Add the options that say which streams beside the pictures are kept."""
    for option in (
        click.option("--no-subtitles", is_flag=True, help="Leave subtitles out."),
        click.option("--no-audio", is_flag=True, help="Leave sound out."),
    ):
        command = option(command)
    return command


def part(start: int | Seconds, duration: int | Seconds | None, frames: int | None) -> Part:
    """The part of a video that is wanted; raises UsageError."""
    if duration is not None and frames is not None:
        raise UsageError("--duration and --frames contradict each other")
    return Part(start, frames if duration is None else duration)


def names(inputs: tuple[str, ...], others: tuple[str, ...]) -> list[str]:
    """Those given by -i, then the others; raises UsageError where there are none."""
    found = [*inputs, *others]
    if not found:
        raise UsageError("Missing argument 'IN'.")
    return found


def kept(no_audio: bool, no_subtitles: bool) -> frozenset[StreamKind]:
    """The kinds of streams beside the pictures that are wanted."""
    without = [StreamKind.AUDIO] * no_audio + [StreamKind.SUBTITLE] * no_subtitles
    return frozenset(StreamKind) - frozenset(without)


def networks(device: str, threads: int | None) -> Networks:
    """The released networks, where --device and --threads want them; raises CodecError and WeightsError."""
    import torch

    from bcodec.codec import pick_device
    from bcodec.networks import load_networks

    # Small operations gain nothing from more, and lose much where others use the cores.
    torch.set_num_threads(threads or 1)
    return load_networks(device=pick_device(device))
