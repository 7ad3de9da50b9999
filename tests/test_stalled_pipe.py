"""A signal ends an encode that waits for its input, wherever it waits, in one line and with nothing left."""

import signal
import subprocess
import time
from pathlib import Path

import pytest
from clips import with_sound
from test_pipes import start


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("share", [0.1, 0.7])  # in the header of the file, among its pictures
def test_a_signal_ends_an_encode_that_waits_for_a_container(
    tiny_weights: Path, tmp_path: Path, share: float, number: signal.Signals
) -> None:
    data, target = with_sound(tmp_path / "in.mkv").read_bytes(), tmp_path / "out.bcv"
    words = ("encode", "-", "-o", str(target), "--preset", "fast")
    with start(tiny_weights, *words, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as encoder:
        assert encoder.stdin
        assert encoder.stderr
        encoder.stdin.write(data[: int(share * len(data))])
        encoder.stdin.flush()
        while not list(tmp_path.glob(".*.part")):  # then it opens its input
            assert encoder.poll() is None
            time.sleep(0.1)
        time.sleep(3)
        encoder.send_signal(number)
        assert encoder.wait(60) == 128 + number
        assert encoder.stderr.read() == b"bcodec: interrupted\n"
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]
