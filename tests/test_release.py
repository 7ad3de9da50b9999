"""The released weights, end to end through the command line."""

import hashlib
import json
from pathlib import Path

import pytest
from clips import moving, write

from bcodec.cli.main import main
from bcodec.metrics import Quality
from bcodec.networks import load_networks, shipped_weights
from bcodec.video import VideoReader

WIDTH, HEIGHT, COUNT = 98, 62, 5


def test_the_model_id_is_the_sha256_of_the_weights() -> None:
    digest = hashlib.sha256(shipped_weights().read_bytes())
    assert load_networks().model_id == digest.digest()[:8]
    assert digest.hexdigest() in (shipped_weights().parent / "bcodec.sha256").read_text()


def test_released_weights_code_a_clip_better_with_more_bits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = moving(COUNT, WIDTH, HEIGHT, speed=3)
    write(tmp_path / "in.y4m", frames)
    sizes, qualities = [], []
    for qp in ("12", "40"):
        coded, decoded = tmp_path / f"{qp}.bcv", tmp_path / f"{qp}.y4m"
        arguments = ["-q", qp, "--keyint", "4", "--threads", "1", "--preset", "fast"]
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
