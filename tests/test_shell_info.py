"""What info tells is what encode told, and what lies on the disk."""

import json
import re
from fractions import Fraction
from pathlib import Path

from clips import still
from commands import FAST, Command

from bcodec.bitstream import SequenceHeader, VideoFormat
from bcodec.pipeline.inspect import Inspection, readable_bytes
from bcodec.pipeline.tally import readable_rate


def test_there_is_one_size_and_one_bitrate(run: Command, tmp_path: Path) -> None:
    target, log = tmp_path / "out.bcv", tmp_path / "log.json"
    told = run("encode", still(tmp_path / "in.y4m", 3), "-o", target, "--log-json", log, *FAST).err
    size = target.stat().st_size
    found = re.search(r": (\d+ bytes), pictures (\S+ kbit/s) to ", told)
    assert found
    assert found[1] == readable_bytes(size)
    text = run("info", target).out.decode()
    assert f"size     {found[1]} in all\n" in text
    assert f", {found[2]}, " in next(line for line in text.splitlines() if line.startswith("pictures"))
    read = json.loads(run("info", target, "--json").out)
    summary = json.loads(log.read_text().splitlines()[-1])["summary"]
    assert read["bytes"] == summary["bytes"] == size
    assert read["bitrate"] == summary["bitrate"]
    compared = json.loads(run("compare", target, target, "--json", "--no-ms-ssim").out)["videos"][0]
    assert (compared["bitrate"], compared["bits_per_pixel"]) == (read["bitrate"], read["bits_per_pixel"])
    shares = [int(share) for share in re.findall(r"(\d+)%", text)]
    assert abs(sum(shares) - 100) <= len(shares) / 2


def test_no_bitrate_is_told_in_powers_of_ten() -> None:
    rates = (9523.4, 9_998_999, 9_999_900, 1_183_000_000)
    assert [readable_rate(bits) for bits in rates] == [
        "9.523 kbit/s",
        "9999 kbit/s",
        "10000 kbit/s",
        "1183000 kbit/s",
    ]


def test_info_takes_several_files(run: Command, tmp_path: Path) -> None:
    one, other, cut = (tmp_path / f"{name}.bcv" for name in ("one", "other", "cut"))
    for target, count in ((one, 1), (other, 2)):
        run("encode", still(tmp_path / f"{count}.y4m", count), "-o", target, *FAST)
    cut.write_bytes(one.read_bytes()[:-10])
    result = run("info", one, other)
    assert (result.status, result.err) == (0, "")
    assert result.out.decode() == "\n".join(run("info", path).out.decode() for path in (one, other))
    result = run("info", one, tmp_path / "none.bcv", cut, "--json")
    assert [(found["file"], found["frames"]) for found in json.loads(result.out)] == [
        (str(one), 1),
        (str(cut), 1),
    ]
    assert result.status == 1
    assert [line.partition(": ")[2] for line in result.err.splitlines()] == [
        f"error: {tmp_path}/none.bcv: No such file or directory",
        next(line for line in run("info", cut).err.splitlines())[8:],
        "error: 2 of 3 files are damaged or cannot be read",
    ]
    assert "(after 1 whole frame)" in result.err


def test_colour_has_names() -> None:
    video = VideoFormat(64, 48, Fraction(25), Fraction(1, 25))
    hdr = VideoFormat(
        64,
        48,
        Fraction(25),
        Fraction(1, 25),
        colour_range=1,
        colour_primaries=9,
        colour_transfer=16,
        colour_matrix=9,
    )
    lines = [Inspection(SequenceHeader(each, 8, 1, bytes(8)), bytes=1).to_text() for each in (video, hdr)]
    assert "range unspecified, matrix unspecified, primaries unspecified, transfer unspecified" in lines[0]
    assert "range limited, matrix BT.2020, primaries BT.2020, transfer PQ" in lines[1]
