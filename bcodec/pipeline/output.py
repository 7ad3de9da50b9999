"""An output file that is there when it is whole, and not before."""

import errno
import fcntl
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from secrets import token_hex

from bcodec.errors import UsageError
from bcodec.pipeline.stdio import check_standard_output, standard_output


def refuse_same_file(source: str, target: str) -> None:
    """Refuse to write over the input: UsageError."""
    if "-" not in (source, target):
        with suppress(OSError):
            if os.path.samefile(source, target) and os.path.isfile(source):
                raise UsageError(f"{source} and {target} are the same file")


@contextmanager
def output_file(target: str, *, overwrite: bool, resume: bool = False) -> Iterator[str]:
    """Give the path to write to: of a file that becomes `target` when all is done, or - for standard output.

    `resume`: of the unfinished file of `target`, which stays if it fails. Raises UsageError where standard
    output is a terminal, and OSError as `whole_file` and `unfinished_file` do.
    """
    if target != "-":
        with (unfinished_file if resume else whole_file)(target, overwrite=overwrite) as path:
            yield path
    else:
        check_standard_output()
        with standard_output():
            yield "-"
            sys.stdout.flush()


@contextmanager
def whole_file(target: str, *, overwrite: bool) -> Iterator[str]:
    """Give the path of a new, empty file beside `target`: at the end of the block it becomes `target`.

    After an exception nothing of it is left. A target that is a device or a pipe is itself what is given.
    Raises OSError, at once for a target that cannot be written, or that exists where `overwrite` is false; at
    the end where it exists by then.
    """
    path = target if _is_device(target) else _new_file_beside(target, overwrite)
    try:
        yield path
        if path != target:
            _give_name(path, target, overwrite)
    except Exception as error:
        _speak_of(target, path, error)
        raise
    finally:
        if path != target:
            with suppress(FileNotFoundError):
                os.unlink(path)


@contextmanager
def unfinished_file(target: str, *, overwrite: bool) -> Iterator[str]:
    """Give the path of the unfinished file of `target`, perhaps empty: at the end it becomes `target`.

    It is .TARGET.part beside it, and after an exception it stays, as notes on it do. Raises OSError, at once
    for a target that cannot be written, that exists where `overwrite` is false, or that another process is
    writing in this way.
    """
    if os.path.exists(target) and (not overwrite or not os.path.isfile(target)):
        raise FileExistsError(errno.EEXIST, "exists already", target)
    folder, name = os.path.split(os.path.realpath(target))
    path = os.path.join(folder, f".{name}.part")
    with _locked(path, target):
        try:
            yield path
        except Exception as error:
            _speak_of(target, path, error)
            raise
        _give_name(path, target, overwrite)
        with suppress(FileNotFoundError):
            os.unlink(notes_of(path))


def notes_of(unfinished: str) -> str:
    """The path of the notes on an unfinished file."""
    return f"{unfinished}.passes"


@contextmanager
def _locked(path: str, target: str) -> Iterator[None]:
    try:
        file = open(path, "ab")  # noqa: SIM115
    except OSError as error:
        error.filename = target
        raise
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OSError(errno.EBUSY, "another encode is writing it", target) from None
        try:
            yield
        finally:
            with suppress(FileNotFoundError):
                if os.path.getsize(path) == 0:
                    os.unlink(path)


def _give_name(path: str, target: str, overwrite: bool) -> None:
    """Let a whole file become `target`; FileExistsError where another did and `overwrite` is false."""
    place = os.path.realpath(target)  # a link stays a link
    if not overwrite:
        try:
            os.link(path, place)  # unlike a look and then a rename, this leaves no moment in between
        except FileExistsError:
            raise FileExistsError(errno.EEXIST, "exists already", target) from None
        except OSError:  # a file system without hard links
            if os.path.exists(place):
                raise FileExistsError(errno.EEXIST, "exists already", target) from None
        else:
            os.unlink(path)
            return
    os.replace(path, place)


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
