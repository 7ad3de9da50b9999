"""Who shares the work on a video: where nobody says, the processes that help and have the memory.

The numbers were measured with networks of the released size and random weights, on one thread a process.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

import torch

from bcodec.bitstream import VideoFormat
from bcodec.crew import Crew, Jobs
from bcodec.errors import UsageError
from bcodec.frame import picture_bytes
from bcodec.gop import PART
from bcodec.processes import Processes

# Luma samples of all frames up to which processes cost more than they save: to start one takes about 2 s of
# CPU time; on one thread a sample takes 0.7 us to decode and at least 2 us to encode.
FEW_TO_DECODE, FEW_TO_ENCODE = 1 << 22, 1 << 20
# Bytes of a process. At rest 420 MiB are resident, with torch and the weights. While it codes, 460 bytes come
# to that for a luma sample of the picture, and a part of a GOP: as planes and pickled, here and in the first
# process.
AT_REST, PER_SAMPLE, COPIES = 420 << 20, 460, 4

MEMORY, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")  # of Linux; elsewhere memory is no bound


def crew_for(
    asked: Jobs,
    device: torch.device,
    video: VideoFormat,
    frames: int | None,
    few: int,
) -> Crew | None:
    """The crew that is asked for, or one of as many processes as `jobs_for` says.

    None for a GPU, and where one process is asked for: that computes on as many threads as torch has.

    Raises UsageError for a device that they cannot share.
    """
    if asked is None or isinstance(asked, int):
        jobs = jobs_for(asked, device, video, frames, few)
        return None if asked == 1 or device.type != "cpu" else Processes(jobs)
    if device.type != "cpu":
        raise UsageError("--scheduler needs the CPU (--device cpu)")
    return asked


def jobs_for(
    asked: int | None,
    device: torch.device,
    video: VideoFormat,
    frames: int | None,
    few: int,
) -> int:
    """The processes that are `asked` for or, where that is None, those that help with so many `frames`.

    `frames` is None where nobody knows. `few`: luma samples that one process had better do alone. Raises
    UsageError for several processes on a device that they cannot share.
    """
    if device.type != "cpu":
        if asked and asked > 1:
            raise UsageError(f"--jobs {asked} needs the CPU (--device cpu)")
        return 1
    if asked is not None:
        return asked
    bounds = [available_cores(), torch.get_num_threads()]
    if frames is not None:
        parts = -(-(frames - 1) // (PART + 1))
        bounds.append(parts if frames * video.width * video.height > few else 1)
    if (free := free_memory()) is not None:
        bounds.append(free // bytes_of_process(video))
    return max(1, min(bounds))


def bytes_of_process(video: VideoFormat) -> int:
    """The memory that one more process takes, about."""
    part = (PART + 2) * COPIES * picture_bytes(video.width, video.height, video.bit_depth)
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
