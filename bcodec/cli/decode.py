"""`bcodec decode` and `bcodec verify`: a .bcv file to pictures, and what is told of damage."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import click

from bcodec.bitstream import AuxiliaryPacket, BitstreamReader, Packet, SequenceHeader
from bcodec.bitstream.sidecar import SideData, StreamKind, TimeRange, leading, run_on
from bcodec.cli import arguments, console
from bcodec.cli.console import log
from bcodec.errors import BitstreamError
from bcodec.pipeline.output import output_file

if TYPE_CHECKING:
    from bcodec.networks import Networks


@click.command()
@click.argument("source", type=arguments.FILE, metavar="IN")
@click.option(
    "-o",
    "target",
    type=arguments.FILE,
    required=True,
    metavar="OUT",
    help="The video to write: .mkv (FFV1, lossless), .mp4 (H.264, near lossless), .y4m, .yuv; - is y4m on"
    " standard output.",
)
@arguments.streams
@arguments.common
def decode(
    *,
    source: str,
    target: str,
    no_audio: bool,
    no_subtitles: bool,
    start: int,
    frames: int | None,
    device: str,
    threads: int | None,
    overwrite: bool,
) -> None:
    """Decode the .bcv file IN (- is standard input) to a video.

    Sound, subtitles and tags that the source had come along into .mkv and .mp4, if these can hold them. From
    a damaged file comes everything before the damage, and exit status 1.

    \b
    bcodec decode holiday.bcv -o holiday.mkv
    bcodec decode holiday.bcv -o - --start 100 --frames 50 | ffplay -
    """
    arguments.refuse_same_file(source, target)
    with output_file(target, overwrite=overwrite) as path, console.open_input(source) as file:
        coded = _open(file, source, start, frames, arguments.kept(no_audio, no_subtitles))
        from bcodec.codec import decode as decoded
        from bcodec.errors import CodecError
        from bcodec.video import VideoWriter

        kind = _output_kind(target)
        networks = arguments.networks(device, threads)
        damage = None
        with (
            VideoWriter(path, coded.header.video, kind, coded.beside) as writer,
            console.Progress(coded.total, coded.header) as progress,
        ):
            for notice in writer.notices:
                progress.say(notice)
            told = len(writer.notices)
            packets = _counted(coded.packets, progress, coded.beside)
            pictures = decoded(packets, coded.header, networks)
            try:
                for frame in islice(pictures, coded.skip, frames and coded.skip + frames):
                    writer.write(frame)
                    progress.count_frame()
                if frames:
                    run_on(coded.packets, coded.beside, start + frames)
            except (BitstreamError, CodecError) as error:
                damage = error
        for notice in writer.notices[told:]:
            log.warning(notice)
        _check_some_frames(progress.frames, source, start, damage)
    if damage:
        count = console.in_frames(progress.frames)
        kept = f"{count} before the damage kept in {console.shown(target, 'output')}"
        raise click.ClickException(f"{_where(source, start + progress.frames, damage)}; {kept}") from damage
    log.info(f"{progress.summary()} to {console.shown(target, 'output')}")


class _Coded(NamedTuple):
    """A bitstream, opened where decoding must begin; `skip` pictures from there, `total` (if known) come."""

    header: SequenceHeader
    packets: Iterator[Packet | AuxiliaryPacket]
    beside: SideData
    skip: int
    total: int | None


def _open(
    file: BinaryIO, source: str, start: int, frames: int | None, kept: Collection[StreamKind]
) -> _Coded:
    with console.named(source):
        reader = BitstreamReader(file)
        headers, packets = leading(reader)
        skip, total = _find(reader, start, frames)
    if start and file.seekable():  # it went to an I frame
        packets = reader
    beside = SideData.of(headers, kept)
    beside.time_range = TimeRange.of_frames(beside.file.start, reader.header.video.time_base, start, frames)
    for packet in headers:
        beside.add(packet)
    return _Coded(reader.header, packets, beside, skip, total)


def _output_kind(target: str) -> str:
    from bcodec.errors import VideoError
    from bcodec.video import output_kind

    try:
        return output_kind(target)
    except VideoError as error:
        raise click.UsageError(str(error)) from error


def _find(reader: BitstreamReader, start: int, frames: int | None) -> tuple[int, int | None]:
    """Go to where decoding must begin for frame `start`; how many to skip from there, and how many will come.

    A pipe has no index: there all is decoded, and how many will come is not known.
    """
    try:
        there = max(reader.index.frame_count - start, 0)
        skip = start - reader.seek(start).poc if start else 0
    except io.UnsupportedOperation:
        return start, frames
    return skip, min(there, frames or there)


def _counted(
    packets: Iterator[Packet | AuxiliaryPacket], progress: console.Progress, beside: SideData
) -> Iterator[Packet]:
    """Give the frame packets; what lies beside them goes its own way."""
    for packet in packets:
        if isinstance(packet, Packet):
            progress.count_packet(len(packet.payload))
            yield packet
        else:
            beside.add(packet)


def _check_some_frames(written: int, source: str, start: int, damage: Exception | None) -> None:
    if not written and damage:
        raise click.ClickException(_where(source, start, damage)) from damage
    if not written:
        raise click.ClickException(f"{console.shown(source, 'input')}: has no frame {start}")


def _where(source: str, frame: int, damage: Exception) -> str:
    """Name the file and the first frame that is missing; the codec itself says which frame failed."""
    which = f"frame {frame}: " if isinstance(damage, BitstreamError) else ""
    return f"{console.shown(source, 'input')}: {which}{damage}"


@click.command()
@click.argument("source", type=arguments.FILE, metavar="IN")
@arguments.computing
def verify(*, source: str, device: str, threads: int | None) -> None:
    """Decode the .bcv file IN (- is standard input) without output, and check that it is whole.

    Every picture is compared with the hash that the encoder took of it. Exit status 0 if all is as it was
    encoded, 1 if not.
    """
    with console.open_input(source) as file:
        count = decode_frames(file, source, arguments.networks(device, threads))
    with console.standard_output():
        click.echo(f"{console.shown(source, 'input')}: OK, {console.in_frames(count)}")


def decode_frames(file: BinaryIO, name: str, networks: Networks) -> int:
    """Decode a bitstream to its end, and return the number of frames; an error calls the file by `name`."""
    from bcodec.codec import decode
    from bcodec.errors import CodecError

    with console.named(name):
        reader = BitstreamReader(file)
        _, total = _find(reader, 0, None)
    with console.Progress(total, reader.header) as progress:
        try:
            for _ in decode(_counted(reader, progress, SideData()), reader.header, networks):
                progress.count_frame()
        except (BitstreamError, CodecError) as error:
            raise click.ClickException(_where(name, progress.frames, error)) from error
    _check_some_frames(progress.frames, name, 0, None)
    return progress.frames
