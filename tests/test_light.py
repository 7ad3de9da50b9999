"""What HDR10 says of light goes through a .bcv file, and from one video into another."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from clips import deepened, format_of, moving, write
from commands import FAST, QUICK, Command
from hypothesis import given, settings
from hypothesis import strategies as st

from bcodec.bitstream.extras import Extras
from bcodec.bitstream.light import Light
from bcodec.bitstream.sidecar import SideData
from bcodec.errors import BitstreamError
from bcodec.frame import Frame
from bcodec.video import VideoReader, VideoWriter

# BT.2020 and D65, 0.005 to 1000 cd/m2; content up to 1000 cd/m2, pictures up to 400.
HDR10 = Light((35400, 14600, 8500, 39850, 6550, 2300, 15635, 16450), 10_000_000, 50, 1000, 400)
EXTREME = Light((65535,) * 8, 2**32 - 1, 2**32 - 1, 65535, 65535)
lights = st.builds(
    Light,
    st.tuples(*[st.integers(0, 2**16 - 1)] * 8),
    *[st.integers(0, 2**32 - 1)] * 2,
    *[st.integers(0, 2**16 - 1)] * 2,
)


def beside(light: Light) -> SideData:
    """Side data as it comes of a .bcv file."""
    return SideData.of(SideData(extras=Extras(light=light)).headers())


def pictures(bits: int) -> list[Frame]:
    return deepened(moving(3)) if bits == 10 else moving(3)


def light_in(path: Path) -> Light:
    with VideoReader(path) as reader:
        return reader.side_data.extras.light


@settings(max_examples=50, deadline=None)
@given(lights)
def test_light_is_read_as_it_was_written(light: Light) -> None:
    assert beside(light).extras.light == light


def test_nothing_is_written_where_nothing_is_known() -> None:
    assert SideData().headers() == []


def test_light_without_room_is_refused() -> None:
    with pytest.raises(BitstreamError, match="luminance is 4294967296"):
        Light(brightest=2**32)
    with pytest.raises(BitstreamError, match="number of chromaticities is 7"):
        Light((1,) * 7)


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("ending", ["mkv", "mp4"])
@pytest.mark.parametrize(
    "light", [HDR10, replace(HDR10, max_cll=0, max_fall=0), Light(max_cll=1000, max_fall=400)]
)
def test_containers_say_what_is_known(tmp_path: Path, light: Light, ending: str, bits: int) -> None:
    frames = pictures(bits)
    shown = replace(
        format_of(frames[0]),
        colour_primaries=9,
        colour_transfer=16,
        colour_matrix=9,
        sample_aspect_ratio=Fraction(4, 3),
        rotation=90,
    )
    path = write(tmp_path / f"clip.{ending}", frames, shown, side_data=beside(light))
    with VideoReader(path) as reader:
        assert len(list(reader)) == len(frames)
        assert reader.side_data.extras.light == light
        assert replace(reader.format, time_base=shown.time_base, chroma_location=0) == shown


def test_h265_says_it_in_its_own_messages(tmp_path: Path) -> None:
    """Players that do not look at the boxes of mp4 find it there."""
    path = write(tmp_path / "clip.mp4", pictures(10), side_data=beside(HDR10))
    with av.open(str(path)) as film, av.open(str(tmp_path / "bare.hevc"), "w", format="hevc") as bare:
        stream = bare.add_stream_from_template(film.streams.video[0])
        for packet in film.demux(video=0):
            if packet.size:
                packet.stream = stream
                bare.mux(packet)
    assert light_in(tmp_path / "bare.hevc") == HDR10


COLOURS = "the primaries, transfer and matrix of the colours"
GRADED = "what light the film was graded for"


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize(
    ("ending", "light", "transfer", "lost"),
    [
        ("y4m", HDR10, 2, GRADED),
        ("y4m", Light(max_cll=1000), 16, f"{COLOURS}, nor {GRADED}"),
        ("yuv", Light(), 16, COLOURS),
        ("yuv", Light(), 2, ""),
        ("y4m", Light(), 1, ""),  # as most video is: players guess it
        ("mkv", HDR10, 16, ""),
        ("mp4", HDR10, 16, ""),
    ],
)
def test_what_planes_cannot_say_is_told(
    tmp_path: Path, ending: str, light: Light, transfer: int, lost: str, bits: int
) -> None:
    shown = replace(format_of(pictures(bits)[0]), colour_transfer=transfer)
    with VideoWriter(tmp_path / f"clip.{ending}", shown, side_data=beside(light)) as writer:
        assert writer.notices == ([f"{ending} cannot say {lost}; mkv and mp4 can"] if lost else [])


@pytest.mark.parametrize("ending", ["mkv", "mp4"])
@pytest.mark.parametrize("light", [EXTREME, Light((0,) * 7 + (1,), 0, 1), Light(max_fall=1)])
def test_hostile_light_does_not_keep_the_pictures_from_coming(
    tmp_path: Path, light: Light, ending: str
) -> None:
    path = write(tmp_path / f"clip.{ending}", pictures(10), side_data=beside(light))
    with VideoReader(path) as reader:
        assert len(list(reader)) == 3


def test_commands_keep_it_and_tell_it(run: Command, tmp_path: Path) -> None:
    source = write(tmp_path / "clip.mkv", pictures(10), side_data=beside(HDR10))
    coded = tmp_path / "clip.bcv"
    assert run("encode", source, "-o", coded, *FAST).status == 0
    found = json.loads(run("info", coded, "--json").out)["light"]
    assert (found["brightest"], found["max_cll"]) == (10_000_000, 1000)
    assert "light    mastered at 0.005 to 1000 cd/m2 (red 0.708 0.292," in run("info", coded).out.decode()
    for ending in ("mkv", "mp4"):
        assert run("decode", coded, "-o", tmp_path / f"out.{ending}", *QUICK).status == 0
        assert light_in(tmp_path / f"out.{ending}") == HDR10
    told = run("decode", coded, "-o", tmp_path / "out.y4m", *QUICK).err
    assert f"bcodec: y4m cannot say {GRADED}; mkv and mp4 can\n" in told


def test_pictures_without_it_say_nothing(run: Command, clip: Path, coded: Path) -> None:
    assert light_in(clip) == Light()
    assert json.loads(run("info", coded, "--json").out)["light"] is None
    assert "\nlight " not in run("info", coded).out.decode()
