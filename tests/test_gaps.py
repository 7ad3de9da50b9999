"""Behind damage in a .bcv file decoding goes on, and says what is lost."""

from pathlib import Path

import numpy as np
import pytest
from commands import QUICK, Command, feed, flipped, packet_ends, pictures

from bcodec.video import VideoReader


@pytest.fixture
def damaged(coded: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The file with a bit flipped in the packet of that number: I0, I4, B2, B1, B3, I8, B6, B5, B7."""
    ends = packet_ends(coded)
    target = tmp_path / "bad.bcv"
    target.write_bytes(flipped(coded.read_bytes(), ends[request.param] - 3))
    return target


@pytest.mark.parametrize(
    ("damaged", "lost"),
    [(0, [0, 1, 2, 3]), (1, [1, 2, 3, 4, 5, 6, 7]), (2, [1, 2, 3]), (3, [1]), (6, [5, 6, 7]), (8, [7])],
    indirect=["damaged"],
)
@pytest.mark.parametrize("where", ["file", "pipe"])
def test_only_what_refers_to_a_lost_frame_is_lost_with_it(
    run: Command,
    damaged: Path,
    lost: list[int],
    where: str,
    decoded: list[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if where == "pipe":
        feed(monkeypatch, damaged.read_bytes())
    source, target = "-" if where == "pipe" else damaged, tmp_path / "out.mkv"
    result = run("decode", source, "-o", target, *QUICK)
    assert result.status == 1, result.err
    *told, last = result.err.splitlines()
    named = f"frame {lost[0]} is" if len(lost) == 1 else f"frames {lost[0]} to {lost[-1]} are"
    assert len(told) == 1
    assert f"{named} lost: damaged packet at byte" in told[0]
    assert f"decoding goes on at frame {lost[-1] + 1}" in told[0]
    many = "1 frame" if len(lost) == 1 else f"{len(lost)} frames"
    assert f"{many} lost by damage; {9 - len(lost)} frames kept in" in last
    left = [poc for poc in range(9) if poc not in lost]
    assert pictures(target) == [decoded[poc] for poc in left]
    with VideoReader(target) as reader:
        times = [round(time * 25) for _, time in reader.timed()]
    assert times == [poc - left[0] for poc in left]


@pytest.mark.parametrize("damaged", [2], indirect=True)
def test_what_has_no_times_comes_early_and_says_so(run: Command, damaged: Path, tmp_path: Path) -> None:
    result = run("decode", damaged, "-o", tmp_path / "out.y4m", *QUICK)
    assert "decoding goes on at frame 4, 3 frames too early" in result.err
    assert len(pictures(tmp_path / "out.y4m")) == 6


@pytest.mark.parametrize("damaged", [2], indirect=True)
def test_strictly_the_first_damage_ends_it(
    run: Command, damaged: Path, decoded: list[bytes], tmp_path: Path
) -> None:
    result = run("decode", damaged, "-o", tmp_path / "out.y4m", "--strict", *QUICK)
    assert result.status == 1
    assert "bad.bcv: frame 1: damaged packet at byte" in result.err
    assert "; 1 frame before the damage kept in" in result.err
    assert pictures(tmp_path / "out.y4m") == decoded[:1]
    assert run("verify", damaged, *QUICK).status == 1


def test_a_stretch_of_noise_loses_what_it_covers(
    run: Command, coded: Path, decoded: list[bytes], tmp_path: Path
) -> None:
    data, ends = bytearray(coded.read_bytes()), packet_ends(coded)
    data[ends[2] + 5 : ends[4] - 5] = np.random.default_rng(2).bytes(ends[4] - ends[2] - 10)
    (tmp_path / "bad.bcv").write_bytes(data)
    result = run("decode", tmp_path / "bad.bcv", "-o", tmp_path / "out.y4m", *QUICK)
    assert result.status == 1
    assert pictures(tmp_path / "out.y4m") == [decoded[poc] for poc in (0, 2, 4, 5, 6, 7, 8)]
