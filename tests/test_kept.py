"""Chapters, fonts, covers, words on the pictures, AAC of MPEG-TS and text subtitles: kept, or named."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from commands import Command

from bcodec.bitstream import AuxiliaryPacket, VideoFormat
from bcodec.bitstream.extras import COVER, Attachment, Chapter, Extras, PictureWords
from bcodec.bitstream.sidecar import SideData, StreamKind, TimeRange
from bcodec.cli.main import main
from bcodec.errors import BitstreamError
from bcodec.frame import Frame, plane_shapes
from bcodec.video import VideoReader, VideoWriter

COUNT, RATE, SOUND = 6, 25, 48000
MS = Fraction(1, 1000)
FONT = b"not quite a font" * 9
QUICKLY = "--threads", "1", "--preset", "fast"
CHAPTERS = [
    Chapter(Fraction(0), Fraction(1, 10), {"title": "Anfänge"}),
    Chapter(Fraction(1, 10), Fraction(6, 25), {"title": "two"}),
]


@pytest.fixture
def run(run: Command) -> Command:
    return lambda name, *words: run(name, *words, *QUICKLY[: 2 if name == "decode" else None])


def add_video(
    container: OutputContainer, codec: str = "libx264", size: tuple[int, int] = (64, 48)
) -> VideoStream:
    stream = container.add_stream(codec, rate=RATE)
    assert isinstance(stream, VideoStream)
    (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
    return stream


def pictures(stream: VideoStream, count: int = COUNT) -> Iterable[Packet[Stream]]:
    for time in range(count):
        picture = VideoFrame(stream.width, stream.height, "yuv420p")
        for plane in picture.planes:
            plane.update(bytes([60 + 5 * time]) * plane.buffer_size)
        picture.pts = time
        yield from stream.encode(picture)
    yield from stream.encode(None)


def jpeg(folder: Path) -> bytes:
    path = folder / "cover.jpg"
    with av.open(str(path), "w", format="mjpeg") as container:
        stream = add_video(container, "mjpeg", (16, 16))
        stream.pix_fmt = "yuvj420p"
        picture = VideoFrame(16, 16, "yuvj420p")
        for plane in picture.planes:
            plane.update(bytes([99]) * plane.buffer_size)
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path.read_bytes()


def make_film(path: Path) -> Path:
    """Chapters, a cover, a film in Japanese; in mkv a font, too."""
    cover = jpeg(path.parent)
    with av.open(str(path), "w") as container, av.open(str(path.parent / "cover.jpg")) as picture:
        video = add_video(container)
        video.disposition, video.metadata["language"] = Disposition.default, "jpn"
        if path.suffix == ".mkv":
            container.add_attachment("x.ttf", "font/ttf", FONT)
            container.add_attachment("cover.jpg", "image/jpeg", cover)
        else:
            front = container.add_stream_from_template(picture.streams.video[0])
            front.disposition = Disposition.attached_pic
        container.set_chapters(
            [
                {
                    "id": i,
                    "start": int(c.begin * 1000),
                    "end": int(c.end * 1000),
                    "time_base": MS,
                    "metadata": c.tags,
                }
                for i, c in enumerate(CHAPTERS)
            ]
        )
        container.start_encoding()
        if path.suffix == ".mp4":
            packet = Packet(cover)
            packet.stream, packet.pts, packet.dts, packet.time_base = front, 0, 0, MS
            container.mux(packet)
        container.mux(list(pictures(video)))
    return path


def kept(path: Path) -> tuple[list[tuple[Fraction, str]], dict[str, bytes], str | None]:
    """Chapters, attachments with the cover, and the language of the film, as FFmpeg reads them."""
    with av.open(str(path)) as container:
        chapters = [
            (c["start"] * (c["time_base"] or MS), c["metadata"].get("title", ""))
            for c in container.chapters()
        ]
        files = {s.metadata["filename"]: s.data for s in container.streams.attachments}
        covers = [s for s in container.streams.video if s.disposition & Disposition.attached_pic]
        for packet in container.demux(covers) if covers else ():
            if packet.size:
                files["cover.jpg"] = bytes(packet)
        film = container.streams.video[0]
        assert film.disposition & Disposition.default
        return chapters, files, film.language


@pytest.mark.parametrize("before", ["mkv", "mp4"])
def test_chapters_fonts_covers_and_the_language_come_back(run: Command, tmp_path: Path, before: str) -> None:
    source = make_film(tmp_path / f"film.{before}")
    result = run("encode", source, "-o", tmp_path / "a.bcv")
    assert (result.status, result.err.count("\n")) == (0, 1), result.err
    chapters = [(c.begin, c.tags["title"]) for c in CHAPTERS]
    font = {"x.ttf": FONT} if before == "mkv" else {}
    cover = {"cover.jpg": (tmp_path / "cover.jpg").read_bytes()}
    assert run("decode", tmp_path / "a.bcv", "-o", tmp_path / "b.mkv").err.count("\n") == 1
    assert kept(tmp_path / "b.mkv") == (chapters, font | cover, "jpn")
    result = run("decode", tmp_path / "a.bcv", "-o", tmp_path / "b.mp4")
    assert kept(tmp_path / "b.mp4") == (chapters, cover, "jpn")
    assert ("mp4 cannot hold the attachment x.ttf: it is left out" in result.err) == bool(font)
    names = ["2 chapters", *(["attachment x.ttf"] if font else []), "cover picture cover.jpg"]
    result = run("decode", tmp_path / "a.bcv", "-o", tmp_path / "b.y4m")
    assert f"y4m holds pictures only, left out: {', '.join(names)}\n" in result.err


def test_info_tells_of_chapters_and_attachments(
    run: Command, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    run("encode", make_film(tmp_path / "film.mkv"), "-o", tmp_path / "a.bcv")
    assert main(["info", "--json", str(tmp_path / "a.bcv")]) == 0
    found = json.loads(capsysbinary.readouterr().out)
    assert [c["title"] for c in found["chapters"]] == ["Anfänge", "two"]
    assert [(a["name"], a["cover"]) for a in found["attachments"]] == [("x.ttf", False), ("cover.jpg", True)]


@pytest.mark.parametrize("where", ["encode", "decode"])
def test_a_part_has_its_own_chapters(run: Command, tmp_path: Path, where: str) -> None:
    part = ("--start", 2, "--frames", 2)  # 0.08 s to 0.16 s
    source = make_film(tmp_path / "film.mkv")
    run("encode", source, "-o", tmp_path / "a.bcv", *(part if where == "encode" else ()))
    run("decode", tmp_path / "a.bcv", "-o", tmp_path / "b.mkv", *(part if where == "decode" else ()))
    with av.open(str(tmp_path / "b.mkv")) as container:
        times = [(c["start"] // 10**6, c["end"] // 10**6) for c in container.chapters()]
    assert times == [(0, 20), (20, 80)]


# ---------------------------------------------------------------- AAC in ADTS, text subtitles


def make_broadcast(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        video = add_video(container)
        sound = container.add_stream("aac", rate=SOUND)
        assert isinstance(sound, AudioStream)
        sound.layout = "mono"
        container.start_encoding()
        packets = list(pictures(video))
        for time in range(0, SOUND * COUNT // RATE, 1024):
            frame = AudioFrame("fltp", "mono", 1024)
            frame.sample_rate, frame.pts, frame.time_base = SOUND, time, Fraction(1, SOUND)
            noise = np.random.default_rng(time).normal(0, 0.1, 1024).astype("<f4")
            frame.planes[0].update(noise.tobytes())
            packets += sound.encode(frame)
        packets += sound.encode(None)
        container.mux(sorted(packets, key=lambda p: (p.dts or 0) * p.time_base))
    return path


def samples(path: Path) -> bytes:
    with av.open(str(path)) as container:
        return b"".join(bytes(frame.planes[0]) for frame in container.decode(audio=0))


@pytest.mark.parametrize("after", ["mkv", "mp4"])
def test_aac_of_a_broadcast_comes_back(run: Command, tmp_path: Path, after: str) -> None:
    source = make_broadcast(tmp_path / "clip.ts")
    assert run("encode", source, "-o", tmp_path / "a.bcv").status == 0
    result = run("decode", tmp_path / "a.bcv", "-o", tmp_path / f"b.{after}")
    assert (result.status, result.err.count("\n")) == (0, 1), result.err
    assert samples(tmp_path / f"b.{after}") == samples(source)


def make_words(path: Path, codec: str, text: bytes) -> Path:
    with av.open(str(path), "w") as container:
        video = add_video(container)
        words = container.add_mux_stream(codec)
        words.time_base = MS
        words.metadata["language"] = "deu"
        packet = Packet(text)
        packet.stream, packet.time_base = words, MS
        packet.pts, packet.dts, packet.duration = 80, 80, 90
        container.mux([*pictures(video), packet])
    return path


def words(path: Path) -> tuple[str, str | None, list[tuple[bytes, int, int]]]:
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[0]
        found = [
            (
                bytes(p),
                round((p.pts or 0) * p.time_base * 1000),
                round((p.duration or 0) * p.time_base * 1000),
            )
            for p in container.demux(stream)
            if p.size > 2
        ]
        return stream.codec_context.codec.canonical_name, stream.language, found


def test_srt_becomes_mov_text(run: Command, tmp_path: Path) -> None:
    source = make_words(tmp_path / "clip.mkv", "subrip", "<i>Grüße</i>\nan alle".encode())
    run("encode", source, "-o", tmp_path / "a.bcv")
    result = run("decode", tmp_path / "a.bcv", "-o", tmp_path / "b.mp4")
    assert "mp4 cannot hold the subtitle subrip deu: it is converted to mov_text\n" in result.err
    codec, language, ((text, *times),) = words(tmp_path / "b.mp4")
    assert (codec, language, times) == ("mov_text", "deu", [80, 90])
    length = int.from_bytes(text[:2])
    assert text[2 : 2 + length].decode() == "Grüße\nan alle"
    assert text[2 + length + 4 :].startswith(b"styl")


def test_mov_text_becomes_srt(run: Command, tmp_path: Path) -> None:
    text = "Grüße\nan alle".encode()
    source = make_words(tmp_path / "clip.mp4", "mov_text", len(text).to_bytes(2) + text)
    run("encode", source, "-o", tmp_path / "a.bcv")
    result = run("decode", tmp_path / "a.bcv", "-o", tmp_path / "b.mkv")
    assert "matroska cannot hold the subtitle mov_text deu: it is converted to subrip\n" in result.err
    assert words(tmp_path / "b.mkv") == ("subrip", "deu", [(text, 80, 90)])


# ---------------------------------------------------------------- which stream is the film


def make_two(path: Path, *, first: int, second: int = COUNT) -> Path:
    """Two video streams of so many pictures, 32x32 and 64x48."""
    with av.open(str(path), "w") as container:
        small, large = add_video(container, "ffv1", (32, 32)), add_video(container, "ffv1")
        container.start_encoding()
        packets = [*pictures(small, first), *pictures(large, second)]
        container.mux(sorted(packets, key=lambda p: (p.dts or 0) * p.time_base))
    return path


@pytest.mark.parametrize(
    ("first", "video", "width"), [(1, None, 64), (COUNT, None, 32), (COUNT, 1, 64), (1, 0, 32)]
)
def test_the_film_is_coded(tmp_path: Path, first: int, video: int | None, width: int) -> None:
    source = make_two(tmp_path / "clip.mkv", first=first)
    with VideoReader(source, video=video, keep=frozenset(StreamKind)) as reader:
        assert reader.format.width == width
        assert len(list(reader)) == (first if width == 32 else COUNT)
        other = 1 if width == 32 else 0
        told = f"one video stream is coded, left out: video ffv1 (--video {other} codes it instead)"
        assert told in reader.notices


def test_video_streams_that_are_not_there_are_refused(run: Command, tmp_path: Path) -> None:
    source = make_two(tmp_path / "clip.mkv", first=2)
    result = run("encode", source, "-o", tmp_path / "a.bcv", "--video", 2)
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert result.err.endswith("clip.mkv: has no video stream 2: they are 0 to 1\n")
    assert run("encode", source, "-o", tmp_path / "a.bcv", "--video", 1).status == 0


# ---------------------------------------------------------------- as bytes

FONT_FILE = Attachment(b"F", 0, {"filename": "x.ttf", "mimetype": "font/ttf"})


def test_bytes_are_as_the_diagrams_say() -> None:
    chapter = Chapter(Fraction(1, 2), Fraction(2), {"title": "a"}).to_packet()
    assert (chapter.stream, chapter.flags, chapter.pts, chapter.duration) == (
        0,
        0,
        500_000_000,
        1_500_000_000,
    )
    assert chapter.payload.hex(" ") == "00 05 01 00 74 69 74 6c 65 61"
    assert Attachment(b"FF", COVER, {"a": "b"}).to_packet().payload.hex(" ") == (
        "01 00 04 00 00 05 00 01 01 00 61 62 46 46"
    )
    assert PictureWords(1, {"a": "b"}).to_packet().payload.hex(" ") == "02 01 00 00 00 01 01 00 61 62"


def test_extras_come_back() -> None:
    extras = Extras(CHAPTERS, [FONT_FILE, Attachment(b"J", COVER)], PictureWords(5, {"language": "jpn"}))
    packets = SideData(extras=extras).headers()
    assert SideData.of(packets).extras == extras
    assert SideData.of([replace(packets[0], payload=b"\xff of a later version")]).notices == []


def test_no_extra_is_trusted() -> None:
    for packet in Extras(CHAPTERS, [FONT_FILE], PictureWords(1, {"a": "b"})).to_packets():
        for length in range(len(packet.payload)):
            with suppress(BitstreamError):
                Extras().read(replace(packet, payload=packet.payload[:length]))
    early = SideData.of([AuxiliaryPacket(0, 0, -1, 0, 0, b"\0"), FONT_FILE.to_packet()])
    assert early.extras.attachments == [FONT_FILE]
    assert early.notices == ["auxiliary stream 0 is left out: a chapter begins at -1 ns"]


def test_chapters_are_cut_and_moved() -> None:
    side_data = SideData(extras=Extras(CHAPTERS))
    side_data.expected = TimeRange(Fraction(1, 10), Fraction(2, 10), Fraction(1, 10))
    assert side_data.chapters() == [Chapter(Fraction(0), Fraction(1, 10), {"title": "two"})]


# ---------------------------------------------------------------- what 4:2:0 cannot have


@pytest.mark.parametrize(
    ("pixels", "codec", "notice"),
    [
        ("gray", "png", "input is gray: converted to yuv420p (8-bit 4:2:0)"),
        (
            "rgba",
            "png",
            "input is rgba: converted to yuv420p (8-bit 4:2:0, BT.601, limited range),"
            " transparency is left out",
        ),
    ],
)
def test_png_has_no_matrix_of_rgb_and_its_transparency_is_told(
    tmp_path: Path, pixels: str, codec: str, notice: str
) -> None:
    with av.open(str(tmp_path / "clip.mov"), "w") as container:
        stream = add_video(container, codec)
        stream.pix_fmt = pixels
        container.mux(stream.encode(VideoFrame(64, 48, pixels)))
        container.mux(stream.encode(None))
    with VideoReader(tmp_path / "clip.mov") as reader:
        assert reader.notices == [notice]
        assert reader.format.colour_matrix == (6 if pixels == "rgba" else 2)


# ---------------------------------------------------------------- hostile extras


@pytest.mark.parametrize("after", ["mkv", "mp4"])
def test_hostile_extras_do_not_keep_the_pictures_from_coming(tmp_path: Path, after: str) -> None:
    far = Fraction(1 << 60, 10**9)
    chapters = [
        Chapter(far, far),
        Chapter(Fraction(0), far, {"title": "a\0b" * 999}),
        Chapter(far / 2, far / 2),
    ]
    files = [
        Attachment(b"no picture", COVER, {"filename": "cover.jpg", "mimetype": "image/jpeg"}),
        Attachment(b"?", COVER | 1),
        Attachment(b"?", 0xFFFFFFFF, {"filename": "\0", "mimetype": "", "": "", "x" * 255: "\n"}),
    ]
    words = PictureWords(0xFFFFFFFF, {"language": "x" * 999, "timecode": "nonsense", "": ""})
    side_data = SideData.of(SideData(extras=Extras(chapters, files, words)).headers())
    assert (len(side_data.extras.chapters), len(side_data.extras.attachments)) == (3, 3)
    format = VideoFormat(64, 48, Fraction(RATE), Fraction(1, RATE))
    with VideoWriter(tmp_path / f"clip.{after}", format, side_data=side_data) as writer:
        for level in range(3):
            writer.write(Frame(*(np.full(s, level, np.uint8) for s in plane_shapes(64, 48))))
    with VideoReader(tmp_path / f"clip.{after}") as reader:
        assert len(list(reader)) == 3
