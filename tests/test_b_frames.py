"""The example that codes B frames beside other codecs': its points, what it reads between them, its table."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from clips import moving, write

from bcodec.networks import Networks


def load() -> Any:
    path = Path(__file__).parents[1] / "examples" / "b_frames.py"
    spec = importlib.util.spec_from_file_location("b_frames", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["b_frames"] = module
    spec.loader.exec_module(module)
    return module


example = load()
PICTURES = moving(3, 64, 48, grain=6)


@pytest.mark.parametrize("rival", example.RIVALS)
def test_only_the_frame_between_is_coded_at_the_qp(rival: str) -> None:
    points = [example.code(rival, PICTURES, qp) for qp in (16, 26, 41)]
    assert [bits for bits, _ in points] == sorted((bits for bits, _ in points), reverse=True)
    assert [quality for _, quality in points] == sorted((quality for _, quality in points), reverse=True)
    assert points[0][0] > 3 * points[2][0]


def test_bits_are_read_between_points_and_from_the_coarsest(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {qp: (2 ** (12 - i), 50.0 - 3 * i) for i, qp in enumerate(example.QPS)}
    monkeypatch.setattr(example, "code", lambda rival, pictures, qp: points[qp])
    for psnr, bits in ((47.0, 2**11), (45.5, 2**10.5), (20.0, 2**7), (60.0, 2**12)):
        assert example.bits_at("x265", PICTURES, psnr) == pytest.approx(bits)


def test_every_b_frame_has_a_row_and_the_table_its_layer(tiny_networks: Networks, tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.y4m", moving(5, 64, 48, grain=6))
    rows = list(example.b_frames(clip, 5, 4, 20, tiny_networks))
    assert sorted(row.poc for row in rows) == [1, 2, 3, 4]
    assert all(row.bits > 0 and row.x264 > 0 and row.x265 > 0 for row in rows)
    table = list(example.table(rows))
    assert [line.split("|")[2].strip() for line in table[2:]] == ["B*", "1", "2", "all"]
