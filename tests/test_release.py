"""The released weights, end to end through the command line."""

import hashlib
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from bcodec.bitstream import VideoFormat
from bcodec.cli.main import main
from bcodec.frame import Frame
from bcodec.metrics import Quality
from bcodec.networks import load_networks, shipped_weights
from bcodec.video import VideoReader, VideoWriter

WIDTH, HEIGHT, COUNT = 98, 62, 9


def moving_clip(path: Path) -> list[Frame]:
    """A smooth texture that moves by (3, 1) samples a frame, 98x62: neither side a multiple of anything."""
    random = np.random.default_rng(5)
    coarse = random.integers(40, 216, (16, 24)).astype(np.float64)
    rows, columns = np.linspace(0, 15, 96), np.linspace(0, 23, 160)
    texture = np.array([np.interp(columns, range(24), row) for row in coarse])
    texture = (
        np.array([np.interp(rows, range(16), column) for column in texture.T]).T.round().astype(np.uint8)
    )
    frames = []
    for t in range(COUNT):
        y = np.ascontiguousarray(texture[t : t + HEIGHT, 3 * t : 3 * t + WIDTH])
        u, v = (np.ascontiguousarray(255 - y[::2, ::2]), np.full((HEIGHT // 2, WIDTH // 2), 120, np.uint8))
        frames.append(Frame(y, u, v))
    with VideoWriter(str(path), VideoFormat(WIDTH, HEIGHT, Fraction(25), Fraction(1, 25))) as writer:
        for frame in frames:
            writer.write(frame)
    return frames


def test_the_model_id_is_the_sha256_of_the_weights() -> None:
    digest = hashlib.sha256(shipped_weights().read_bytes())
    assert load_networks().model_id == digest.digest()[:8]
    assert digest.hexdigest() in (shipped_weights().parent / "bcodec.sha256").read_text()


def test_released_weights_code_a_clip_better_with_more_bits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = moving_clip(tmp_path / "in.y4m")
    sizes, qualities = [], []
    for qp in ("12", "40"):
        coded, decoded = tmp_path / f"{qp}.bcv", tmp_path / f"{qp}.y4m"
        arguments = ["-q", qp, "--gop", "8", "--threads", "1"]
        assert main(["encode", str(tmp_path / "in.y4m"), "-o", str(coded), *arguments]) == 0
        assert main(["decode", str(coded), "-o", str(decoded), "--threads", "1"]) == 0
        with VideoReader(str(decoded)) as reader:
            pairs = zip(frames, reader, strict=True)
            qualities.append(Quality.mean(Quality.of(a.planes, b.planes) for a, b in pairs).psnr_yuv)
        sizes.append(coded.stat().st_size)
    assert sizes[0] < sizes[1] < COUNT * WIDTH * HEIGHT // 4
    assert 30 < qualities[0] < qualities[1]
    capsys.readouterr()
    assert main(["info", str(tmp_path / "40.bcv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
