"""An output file that is there when it is whole, and not before."""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from secrets import token_hex

from bcodec.cli import console


@contextmanager
def output_file(target: str, *, overwrite: bool) -> Iterator[str]:
    """Give the path to write to: of a file that becomes `target` when all is done, or - for standard output.

    Raises click.UsageError where standard output is a terminal, and OSError as `whole_file` does.
    """
    if target != "-":
        with whole_file(target, overwrite=overwrite) as path:
            yield path
    else:
        console.check_standard_output()
        with console.standard_output():
            yield "-"
            sys.stdout.flush()


@contextmanager
def whole_file(target: str, *, overwrite: bool) -> Iterator[str]:
    """Give the path of a new, empty file beside `target`: at the end of the block it becomes `target`.

    After an exception nothing of it is left. A target that is a device or a pipe is itself what is given.
    Raises OSError, at once for a target that cannot be written, or that exists where `overwrite` is false.
    """
    path = target if _is_device(target) else _new_file_beside(target, overwrite)
    try:
        yield path
        if path != target:
            os.replace(path, os.path.realpath(target))
    except Exception as error:
        _speak_of(target, path, error)
        raise
    finally:
        if path != target:
            with suppress(FileNotFoundError):
                os.unlink(path)


def _is_device(path: str) -> bool:
    """Whether there is something that is neither file nor folder: a device, a pipe, a socket."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _new_file_beside(target: str, overwrite: bool) -> str:
    if os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
    if os.path.exists(target) and not overwrite:
        raise FileExistsError(errno.EEXIST, "exists already", target)
    folder = os.path.dirname(os.path.realpath(target))  # a link stays a link
    path = os.path.join(folder, f".bcodec-{os.getpid()}-{token_hex(4)}.part")
    try:
        with open(path, "xb"):
            return path
    except OSError as error:
        error.filename = target
        raise


def _speak_of(target: str, path: str, error: Exception) -> None:
    """Name the target in an error that names the file beside it or, as writing does, none."""
    error.args = tuple(arg.replace(path, target) if isinstance(arg, str) else arg for arg in error.args)
    if isinstance(error, OSError) and error.filename in (None, path):
        error.filename = target
