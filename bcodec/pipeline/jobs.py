"""Who shares the work on a video: where nobody says, the processes that help and have the memory.

The numbers were measured with networks of the released size and random weights, on one thread a process.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bcodec import processes
from bcodec.bitstream import VideoFormat
from bcodec.crew import Auto, Crew, Jobs
from bcodec.errors import UsageError
from bcodec.frame import picture_bytes
from bcodec.gop import PART
from bcodec.processes import Processes

if TYPE_CHECKING:
    import torch

# Luma samples of all frames up to which processes cost more than they save: to start one takes about 2 s of
# CPU time; on one thread a sample takes 0.7 us to decode and at least 2 us to encode.
FEW_TO_DECODE, FEW_TO_ENCODE = 1 << 22, 1 << 20
# Bytes of a process. At rest 420 MiB are resident, with torch and the weights. While it codes, 460 bytes come
# to that for a luma sample of the picture, and two parts of a GOP: as planes and pickled, here and in the
# first process.
AT_REST, PER_SAMPLE, COPIES = 420 << 20, 460, 4

GPUS = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))  # what drivers of Linux make
MEMORY, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")  # of Linux; elsewhere memory is no bound


def crew_for(
    asked: Jobs, device: torch.device, video: VideoFormat, frames: int | None, few: int
) -> Crew | None:
    """The crew that is asked for, or one of as many processes as `jobs_for` says.

    None for a GPU, and where one process does it alone. Raises UsageError for a device that they cannot
    share.
    """
    if device.type != "cpu":
        if isinstance(asked, int) and asked > 1:
            raise UsageError(f"--jobs {asked} needs the CPU (--device cpu)")
        if not isinstance(asked, int | Auto):
            raise UsageError("--scheduler needs the CPU (--device cpu)")
        return None
    if isinstance(asked, Auto):
        asked = jobs_for(asked, video, frames, few)
    if isinstance(asked, int):
        return Processes(asked) if asked > 1 else None
    return asked


def start_early(asked: Jobs, device: str, video: VideoFormat, frames: int | None, few: int) -> None:
    """Start the processes that `crew_for` will want, while this one loads torch; none where a GPU may be."""
    if device == "cuda" or (device == "auto" and any(path.exists() for path in GPUS)):
        return
    if isinstance(asked, Auto):
        asked = jobs_for(asked, video, frames, few)
    if isinstance(asked, int):
        processes.start_early(asked - 1)


def jobs_for(auto: Auto, video: VideoFormat, frames: int | None, few: int) -> int:
    """The processes that help with so many `frames`, None where nobody knows.

    `few`: luma samples that one process had better do alone.
    """
    bounds = [available_cores(), auto.threads or available_cores()]
    if frames is not None:
        parts = -(-(frames - 1) // (PART + 1))
        bounds.append(parts if frames * video.width * video.height > few else 1)
    if (free := free_memory()) is not None:
        bounds.append(free // bytes_of_process(video))
    return max(1, min(bounds))


def bytes_of_process(video: VideoFormat) -> int:
    """The memory that one more process takes, about."""
    part = 2 * (PART + 2) * COPIES * picture_bytes(video.width, video.height, video.bit_depth)
    return AT_REST + PER_SAMPLE * video.width * video.height + part


def available_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory() -> int | None:
    """The bytes that can still be had, of the machine and of the container around this; None if unknown."""
    found = []
    with suppress(OSError, ValueError):
        found.append(_entry(MEMORY, "MemAvailable") * 1024)
    with suppress(OSError, ValueError):  # "max", where there is no limit, is no number
        limit = int((CGROUP / "memory.max").read_text())
        used = int((CGROUP / "memory.current").read_text())
        found.append(limit - used + _entry(CGROUP / "memory.stat", "inactive_file"))
    return min(found, default=None)


def _entry(path: Path, name: str) -> int:
    """A number of a file with one name and number a line; raises OSError and ValueError."""
    line = re.search(rf"^{name}:?\s+(\d+)", path.read_text(), re.MULTILINE)
    if line is None:
        raise ValueError(f"{path} has no {name}")
    return int(line[1])
