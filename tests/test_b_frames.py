"""The example that codes B frames beside other codecs': its points, what it reads between them, its table."""

from pathlib import Path

import pytest
from clips import moving, write
from programs import example

from bcodec.networks import Networks

b_frames = example("b_frames")
PICTURES = moving(3, 64, 48, grain=6)


@pytest.mark.parametrize("rival", b_frames.RIVALS)
def test_only_the_frame_between_is_coded_at_the_qp(rival: str) -> None:
    points = [b_frames.code(rival, PICTURES, qp) for qp in (16, 26, 41)]
    assert [bits for bits, _ in points] == sorted((bits for bits, _ in points), reverse=True)
    assert [quality for _, quality in points] == sorted((quality for _, quality in points), reverse=True)
    assert points[0][0] > 3 * points[2][0]


def test_bits_are_read_between_points_and_from_the_coarsest(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {qp: (2 ** (12 - i), 50.0 - 3 * i) for i, qp in enumerate(b_frames.QPS)}
    monkeypatch.setattr(b_frames, "code", lambda rival, pictures, qp: points[qp])
    for psnr, bits in ((47.0, 2**11), (45.5, 2**10.5), (20.0, 2**7), (60.0, 2**12)):
        assert b_frames.bits_at("x265", PICTURES, psnr) == pytest.approx(bits)


def test_every_b_frame_has_a_row_and_the_table_its_layer(tiny_networks: Networks, tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.y4m", moving(5, 64, 48, grain=6))
    rows = list(b_frames.b_frames(clip, 5, 4, 20, tiny_networks))
    assert sorted(row.poc for row in rows) == [1, 2, 3, 4]
    assert all(row.bits > 0 and row.x264 > 0 and row.x265 > 0 for row in rows)
    table = list(b_frames.table(rows))
    assert [line.split("|")[2].strip() for line in table[2:]] == ["B*", "1", "2", "all"]
