"""Video files written and read back, and every message about those that cannot be."""

import io
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from clips import flat, noise, write

from bcodec.bitstream import VideoFormat
from bcodec.errors import VideoError
from bcodec.frame import Frame
from bcodec.video import VideoReader, VideoWriter, output_kind
from bcodec.video.matroska import write_aspect

NTSC = Fraction(30000, 1001)
SIZES = [(48, 32), (47, 33)]


def shape(width: int = 48, height: int = 32, **more: Any) -> VideoFormat:
    return VideoFormat(width, height, NTSC, 1 / NTSC, **more)


def pictures(frames: list[Frame]) -> list[bytes]:
    return [frame.to_bytes() for frame in frames]


def encode(
    path: Path,
    pix_fmt: str,
    codec: str = "ffv1",
    *,
    fill: Callable[[VideoFrame], None] = lambda frame: None,
    options: dict[str, str] | None = None,
    times: tuple[int, ...] = (0, 1, 2, 3, 4),
    size: tuple[int, int] = (48, 32),
) -> Path:
    """A file of a kind that VideoWriter does not write; times in frame periods."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        for time in times:
            frame = VideoFrame(*size, pix_fmt)
            for plane in frame.planes:
                plane.update(bytes([40 + 10 * time]) * plane.buffer_size)
            fill(frame)
            frame.pts = time
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def fill_with_noise(frame: VideoFrame) -> None:
    rng = np.random.default_rng(2)
    for plane in frame.planes:
        plane.update(rng.bytes(plane.buffer_size))


def read(path: Path) -> list[bytes]:
    with VideoReader(path) as reader:
        return pictures(list(reader))


def first_of(path: Path) -> tuple[Frame, VideoReader]:
    with VideoReader(path) as reader:
        return next(iter(reader)), reader


# ---------------------------------------------------------------- what is written comes back


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ending", ["y4m", "mkv"])
def test_planes_and_format_come_back_untouched(tmp_path: Path, ending: str, size: tuple[int, int]) -> None:
    frames = noise(5, *size)
    format = shape(*size, colour_range=2)
    with VideoReader(write(tmp_path / f"clip.{ending}", frames, format)) as reader:
        assert pictures(list(reader)) == pictures(frames)
        assert reader.frame_count == 5
        assert reader.notices == []
    assert reader.format.colour_range == 2
    assert (reader.format.width, reader.format.height) == size
    assert reader.format.frame_rate == NTSC


@pytest.mark.parametrize("size", SIZES)
def test_raw_planes_come_back_untouched(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = noise(5, *size)
    path = write(tmp_path / "clip.yuv", frames, shape(*size))
    assert path.read_bytes() == b"".join(pictures(frames))
    with VideoReader(path, size=size, frame_rate=NTSC) as reader:
        assert pictures(list(reader)) == pictures(frames)
        assert reader.frame_count == 5
        assert reader.format == shape(*size, sample_aspect_ratio=Fraction(0))


def test_mp4_keeps_rate_count_colour_and_nearly_the_picture(tmp_path: Path) -> None:
    frames = flat(range(90, 95), 48, 32)
    codes = {"colour_range": 1, "colour_primaries": 9, "colour_transfer": 16, "colour_matrix": 9}
    codes["chroma_location"] = 3
    with VideoReader(write(tmp_path / "clip.mp4", frames, shape(**codes))) as reader:
        decoded = list(reader)
    assert (len(decoded), reader.frame_count, reader.notices) == (5, 5, [])
    assert replace(reader.format, time_base=1 / NTSC) == shape(**codes)
    for a, b in zip(frames, decoded, strict=True):
        assert np.abs(a.y.astype(int) - b.y).max() <= 2


@pytest.mark.parametrize("ending", ["mkv", "mp4"])
def test_rotation_comes_back(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"clip.{ending}", noise(5, 48, 32), shape(rotation=270))
    with VideoReader(path) as reader:
        assert reader.format.rotation == 270


@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(16, 11), Fraction(40, 33), Fraction(1)])
@pytest.mark.parametrize("ending", ["y4m", "mp4", "mkv"])
def test_sample_aspect_ratio_comes_back(tmp_path: Path, ending: str, aspect: Fraction) -> None:
    more = {
        "colour_range": 1,
        "colour_primaries": 9,
        "colour_transfer": 16,
        "colour_matrix": 9,
        "rotation": 90,
    }
    more = more if ending != "y4m" else {}
    format = shape(sample_aspect_ratio=aspect, **more)
    path = write(tmp_path / f"clip.{ending}", noise(5, 48, 32), format)
    with VideoReader(path) as reader:
        assert reader.format.sample_aspect_ratio == aspect
        assert [f.planes[0].shape for f in reader] == [f.planes[0].shape for f in noise(5, 48, 32)]


def test_an_aspect_ratio_changes_nothing_else_in_a_matroska_file(tmp_path: Path) -> None:
    frames = noise(5, 48, 32)
    sizes = []
    for name, aspect in (("without", Fraction(0)), ("with", Fraction(16, 11))):
        path = write(tmp_path / f"{name}.mkv", frames, shape(sample_aspect_ratio=aspect))
        sizes.append(Path(path).stat().st_size)
        with VideoReader(path) as reader:
            assert all(
                np.array_equal(p, q)
                for a, b in zip(reader, frames, strict=True)
                for p, q in zip(a.planes, b.planes, strict=True)
            )
    assert sizes[0] == sizes[1]


def test_a_file_without_room_for_an_aspect_ratio_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    for content in (b"", bytes(3), b"\x1a\x45\xdf\xa3", bytes(range(256)) * 9):
        path.write_bytes(content)
        assert not write_aspect(str(path), Fraction(4, 3), 64, 48)
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("ending", "more", "notices"),
    [
        ("y4m", {"rotation": 90}, ["y4m cannot say that the video is rotated by 90 degrees"]),
        ("mkv", {"rotation": 90, "sample_aspect_ratio": Fraction(4, 3)}, []),
    ],
)
def test_what_a_file_cannot_hold_is_told(
    tmp_path: Path, ending: str, more: dict[str, Any], notices: list[str]
) -> None:
    with VideoWriter(tmp_path / f"clip.{ending}", shape(**more)) as writer:
        assert writer.notices == notices


def test_chroma_location_is_written_to_mkv(tmp_path: Path) -> None:
    data = write(tmp_path / "clip.mkv", noise(5, 48, 32), shape(chroma_location=3)).read_bytes()
    horizontal, vertical = bytes.fromhex("55b781"), bytes.fromhex("55b881")  # Matroska's ids, length 1
    assert horizontal + b"\1" in data  # left
    assert vertical + b"\1" in data  # top


@pytest.mark.parametrize(
    ("siting", "tag"), [(0, "C420jpeg"), (1, "C420mpeg2"), (2, "C420jpeg"), (3, "C420paldv")]
)
def test_y4m_header(tmp_path: Path, siting: int, tag: str) -> None:
    path = write(tmp_path / "clip.y4m", [], shape(chroma_location=siting, colour_range=1))
    assert path.read_bytes() == f"YUV4MPEG2 W48 H32 F30000:1001 Ip A1:1 {tag} XCOLORRANGE=LIMITED\n".encode()


def test_ffmpeg_reads_the_same_from_our_y4m(tmp_path: Path) -> None:
    frames = noise(5, 47, 33)
    with av.open(str(write(tmp_path / "clip.y4m", frames, shape(47, 33)))) as container:
        for ours, theirs in zip(frames, container.decode(video=0), strict=True):
            plane = theirs.planes[0]
            luma = np.frombuffer(memoryview(plane), np.uint8).reshape(33, plane.line_size)[:, :47]
            assert np.array_equal(ours.y, luma)


def test_y4m_through_pipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, pipe = noise(5, 47, 33), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe))
    with VideoWriter("-", shape(47, 33)) as writer:
        for frame in frames:
            writer.write(frame)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(pipe.getvalue())))
    with VideoReader("-") as reader:
        assert reader.frame_count is None
        assert pictures(list(reader)) == pictures(frames)


def test_kind_may_differ_from_the_paths_ending(tmp_path: Path) -> None:
    frames = noise(5, 48, 32)
    with VideoWriter(tmp_path / "clip.part", shape(), kind="mkv") as writer:
        for frame in frames:
            writer.write(frame)
    assert read(tmp_path / "clip.part") == pictures(frames)


def test_start_and_frames_cut_out_a_window(tmp_path: Path) -> None:
    frames = noise(5, 48, 32)
    for ending in ("y4m", "mkv"):
        with VideoReader(write(tmp_path / f"clip.{ending}", frames, shape()), start=1, frames=3) as reader:
            assert reader.frame_count == 3
            assert pictures(list(reader)) == pictures(frames[1:4])


def test_colon_in_a_name_is_no_protocol(tmp_path: Path) -> None:
    path = write(tmp_path / "a:b.mkv", noise(5, 48, 32), shape())
    assert len(read(path)) == 5


# ---------------------------------------------------------------- other pixel formats


@pytest.mark.parametrize(
    ("pix_fmt", "how"),
    [
        ("yuv444p", "converted to yuv420p (8-bit 4:2:0)"),
        ("yuv422p", "converted to yuv420p (8-bit 4:2:0)"),
        ("yuva420p", "transparency is left out"),
        ("gray", "converted to yuv420p (8-bit 4:2:0)"),
    ],
)
def test_conversion_is_told_and_keeps_luma(tmp_path: Path, pix_fmt: str, how: str) -> None:
    ramp = bytes(range(0, 240, 5))

    def fill(frame: VideoFrame) -> None:
        plane = frame.planes[0]
        plane.update(ramp.ljust(plane.line_size, b"\0") * 32)

    frame, reader = first_of(encode(tmp_path / "clip.mkv", pix_fmt, fill=fill))
    assert reader.notices == [f"input is {pix_fmt}: {how}"]
    assert frame.y[0].tobytes() == ramp
    assert np.unique(frame.u).tolist() == [128 if pix_fmt == "gray" else 40]
    assert reader.format.colour_range == 0


def test_full_range_stays_full(tmp_path: Path) -> None:
    frame, reader = first_of(encode(tmp_path / "clip.avi", "yuvj444p", "mjpeg", options={"qmin": "1"}))
    assert reader.format.colour_range == 2
    assert reader.notices == ["input is yuvj444p: converted to yuv420p (8-bit 4:2:0)"]
    assert np.abs(frame.y.astype(int) - 40).max() <= 1


@pytest.mark.parametrize(
    ("pix_fmt", "depth", "notice", "luma"),
    [
        ("yuv420p10le", None, [], [0, 1, 2, 5, 6, 1020, 1022, 1023]),
        ("yuv420p9le", None, [], [0, 2, 4, 10, 12, 1020, 1020, 1022]),
        ("yuv420p10le", 8, ["rounded from 10 bits to 8"], [0, 0, 0, 1, 2, 255, 255, 255]),
        ("yuv420p12le", None, ["rounded from 12 bits to 10"], [0, 0, 0, 1, 2, 255, 256, 256]),
        ("yuv422p10le", None, ["converted to yuv420p10le (10-bit 4:2:0)"], [0, 1, 2, 5, 6, 1020, 1022, 1023]),
        ("yuv422p10le", 8, ["converted to yuv420p (8-bit 4:2:0)"], None),
        ("gray10le", None, ["converted to yuv420p10le (10-bit 4:2:0)"], [0, 1, 2, 5, 6, 1020, 1022, 1023]),
        ("gray12le", 8, ["converted to yuv420p (8-bit 4:2:0)"], [0, 0, 0, 0, 0, 64, 64, 64]),
    ],
)
def test_more_bits_are_kept_up_to_ten(
    tmp_path: Path, pix_fmt: str, depth: int | None, notice: list[str], luma: list[int] | None
) -> None:
    values = np.array([0, 1, 2, 5, 6, 1020, 1022, 1023] * 6, "<u2")
    if "p9" in pix_fmt:
        values = np.minimum(values, [511, 511, 511, 511, 511, 510, 510, 511] * 6).astype("<u2")

    def fill(frame: VideoFrame) -> None:
        plane = frame.planes[0]
        plane.update(values.tobytes().ljust(plane.line_size, b"\0") * 32)

    with VideoReader(encode(tmp_path / "clip.mkv", pix_fmt, fill=fill), bit_depth=depth) as reader:
        frame = next(iter(reader))
        assert reader.notices == [f"input is {pix_fmt}: {how}" for how in notice]
        assert reader.format.bit_depth == frame.bit_depth == (depth or 10)
    if luma:
        assert frame.y[0, :8].tolist() == luma
    if pix_fmt.startswith("gray"):
        assert np.unique(frame.u).tolist() == [128 if depth else 512]


@pytest.mark.parametrize(
    ("size", "standard", "matrix", "red"),
    [((48, 32), "BT.601", 6, (81, 90, 240)), ((16, 578), "BT.709", 1, (63, 102, 240))],
)
def test_rgb_becomes_limited_range(
    tmp_path: Path, size: tuple[int, int], standard: str, matrix: int, red: tuple[int, ...]
) -> None:
    def fill(frame: VideoFrame) -> None:
        plane = frame.planes[0]
        plane.update((b"\0\0\xff\0" * (plane.line_size // 4)) * plane.height)

    frame, reader = first_of(encode(tmp_path / "clip.mkv", "bgr0", fill=fill, times=(0,), size=size))
    assert reader.notices == [f"input is bgr0: converted to yuv420p (8-bit 4:2:0, {standard}, limited range)"]
    assert (reader.format.colour_range, reader.format.colour_matrix) == (1, matrix)
    assert tuple(int(plane[0, 0]) for plane in frame.planes) == red


def test_y4m_of_another_sampling_is_converted(tmp_path: Path) -> None:
    path = tmp_path / "clip.y4m"
    path.write_bytes(b"YUV4MPEG2 W16 H16 F25:1 Ip A1:1 C444\nFRAME\n" + bytes([77] * 768))
    frame, reader = first_of(path)
    assert reader.notices == ["input is yuv444p: converted to yuv420p (8-bit 4:2:0)"]
    assert np.unique(frame.y).tolist() == [77]


# ---------------------------------------------------------------- other notices


def test_unknown_rate_is_told(tmp_path: Path) -> None:
    path = tmp_path / "clip.y4m"
    path.write_bytes(b"YUV4MPEG2 W16 H16\nFRAME\n" + bytes(384))
    with VideoReader(path) as reader:
        assert reader.format.frame_rate == 25
        assert reader.notices == ["the input does not say its frame rate: taken as 25 fps"]


def test_sound_left_out_is_told(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "clip.mkv"), "w") as container:
        container.add_stream("pcm_s16le", rate=8000, layout="mono")
        stream = container.add_stream("ffv1", rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        container.mux(stream.encode(VideoFrame(48, 32, "yuv420p")))
        container.mux(stream.encode(None))
    notices = VideoReader(tmp_path / "clip.mkv").notices
    assert notices == ["one video stream is coded, left out: audio pcm_s16le"]


# ---------------------------------------------------------------- errors


def refuses(message: str, path: Path | str, **options: Any) -> None:
    """Opening and reading raises VideoError of one line that matches."""
    with pytest.raises(VideoError, match=message) as caught, VideoReader(path, **options) as reader:
        list(reader)
    assert "\n" not in str(caught.value)


def test_paths_that_hold_no_video_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("These are words, and no pictures.\n" * 9)
    refuses("none.mp4: no such file", tmp_path / "none.mp4")
    refuses("is a directory", tmp_path)
    refuses("empty.mp4: is empty", tmp_path / "empty.mp4")
    refuses("text.mp4: is not a video that can be read", tmp_path / "text.mp4")


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame("s16", "mono", 160)
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    refuses("has no video in it, only audio", path)


def test_raw_without_its_numbers_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.yuv", noise(5, 48, 32), shape())
    refuses("both must be given", path, size=(48, 32))
    refuses("both must be given", path, frame_rate=NTSC)
    message = "11520 bytes are not a whole number of 48x30 frames of 2160 bytes: 5 frames and 720 bytes over"
    refuses(message, path, size=(48, 30), frame_rate=NTSC)
    refuses("width is 0, outside 16..8192", path, size=(0, 32), frame_rate=NTSC)
    refuses("height is 99999, outside", path, size=(48, 99999), frame_rate=NTSC)


def test_numbers_for_a_file_that_has_its_own_are_refused(tmp_path: Path) -> None:
    refuses("for raw planes only", write(tmp_path / "clip.mkv", noise(5, 48, 32), shape()), size=(48, 32))


def test_small_video_is_refused(tmp_path: Path) -> None:
    refuses("height is 8, outside 16..8192", encode(tmp_path / "clip.mkv", "yuv420p", size=(48, 8)))


@pytest.mark.parametrize("ending", ["mkv", "y4m", "avi", "mp4"])
def test_frames_before_the_damage_are_given(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"clip.{ending}"
    if ending == "avi":
        encode(path, "yuv420p", fill=fill_with_noise)
    elif ending == "mp4":
        encode(path, "yuv420p", "mpeg4", fill=fill_with_noise, times=tuple(range(20)))
        with (
            av.open(str(path)) as source,
            av.open(str(tmp_path / "front.mp4"), "w", options={"movflags": "faststart"}) as target,
        ):
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
        path = tmp_path / "front.mp4"
    else:
        write(path, noise(5, 48, 32), shape())
    whole = read(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 9 // 10] if ending == "mp4" else data[: len(data) * 2 // 3])
    given: list[bytes] = []
    with VideoReader(path) as reader, pytest.raises(VideoError, match="cut short"):
        given.extend(frame.to_bytes() for frame in reader)
    assert 0 < len(given) < len(whole)
    assert given == whole[: len(given)]


def test_interlaced_video_is_refused(tmp_path: Path) -> None:
    options = {"x264-params": "tff=1"}
    refuses("interlaced", encode(tmp_path / "clip.mkv", "yuv420p", "libx264", options=options, size=(64, 64)))
    (tmp_path / "clip.y4m").write_bytes(b"YUV4MPEG2 W16 H16 F25:1 It\nFRAME\n" + bytes(384))
    refuses("interlaced", tmp_path / "clip.y4m")


def moving_fields(time: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A bar that moves by 6 samples a field: the lines of a frame are of two times."""
    picture = np.full((64, 64), 40, np.uint8)
    for field in (0, 1):
        at = 6 * (2 * time + field)
        picture[field::2, at : at + 12] = 200
    return picture


@pytest.mark.parametrize("ending", ["mkv", "y4m"])
def test_interlaced_video_is_deinterlaced_on_request(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"clip.{ending}"
    times = iter(range(5))
    if ending == "mkv":

        def fill(frame: VideoFrame) -> None:
            padding = ((0, 0), (0, frame.planes[0].line_size - 64))
            frame.planes[0].update(np.pad(moving_fields(next(times)), padding).tobytes())

        encode(path, "yuv420p", "libx264", options={"x264-params": "tff=1:qp=1"}, size=(64, 64), fill=fill)
    else:
        frames = [b"FRAME\n" + moving_fields(t).tobytes() + bytes([128]) * 2048 for t in times]
        path.write_bytes(b"YUV4MPEG2 W64 H64 F25:1 It\n" + b"".join(frames))
    with VideoReader(path, deinterlace=True) as reader:
        pictures = list(reader)
    assert len(pictures) == 5
    for time, picture in enumerate(pictures):
        before, after = (
            np.abs(np.diff(y.astype(int), axis=0)).mean() for y in (moving_fields(time), picture.y)
        )
        assert after < before / 3
    assert reader.format.frame_rate == 25
    raw = {"size": (16, 16), "frame_rate": Fraction(25)}
    refuses("bare planes cannot be deinterlaced", "-", deinterlace=True, **raw)


def test_bad_y4m_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pipe(data: bytes) -> str:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        return "-"

    refuses("standard input: is empty", pipe(b""))
    refuses("standard input: is not a video", pipe(b"\x1aE\xdf\xa3" * 100))
    refuses("header is damaged", pipe(b"YUV4MPEG2 W16\n"))
    refuses("standard input: is not a video", pipe(b"YUV4MPEG2 W16 H16 C999\n"))
    refuses("has no frames", pipe(b"YUV4MPEG2 W16 H16 F25:1\n"))
    refuses("cut short after 1 frame", pipe(b"YUV4MPEG2 W16 H16 F25:1\nFRAME\n" + bytes(384) + b"FRAME\n"))


def test_window_outside_the_video_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mkv", noise(5, 48, 32), shape())
    refuses("has no frame 5", path, start=5)
    refuses("cannot read 0 frames", path, frames=0)
    refuses("from frame -1", path, start=-1)


def test_unknown_output_is_refused() -> None:
    assert output_kind("a/CLIP.MKV") == "mkv"
    assert output_kind("-") == "y4m"
    with pytest.raises(VideoError, match=r"cannot write \.ogv; known are \.yuv, \.i420, \.y4m, \.mkv, \.mp4"):
        output_kind("clip.ogv")
    with pytest.raises(VideoError, match="without an ending"):
        output_kind("clip")


def test_odd_sizes_in_mp4_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"cannot hold the odd size 47x33; write \.mkv or \.y4m"):
        VideoWriter(tmp_path / "clip.mp4", shape(47, 33))


@pytest.mark.parametrize("ending", ["y4m", "mkv"])
def test_unwritable_path_is_refused(tmp_path: Path, ending: str) -> None:
    with pytest.raises(VideoError, match="no such"):
        VideoWriter(tmp_path / "nowhere" / f"clip.{ending}", shape())


def test_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    with (
        VideoWriter(tmp_path / "clip.yuv", shape()) as writer,
        pytest.raises(ValueError, match="a picture of 16x16 of 8 bits in a video of 48x32 of 8 bits"),
    ):
        writer.write(noise(1, 16, 16)[0])


def test_ffmpeg_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "clip.mp4", noise(5, 48, 32), shape())
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(VideoError):
        VideoReader(path)
    assert capfd.readouterr() == ("", "")
