"""A pipeline delivers while its producer still writes, as live sources do."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from commands import Command

from bcodec.frame import picture_bytes

WIDTH, HEIGHT = 64, 48
HEADER = b"YUV4MPEG2 W64 H48 F25:1 Ip C420jpeg\n"
COMMAND = """
import sys
from pathlib import Path
import bcodec.networks
from bcodec.cli.main import main
bcodec.networks.shipped_weights = lambda: Path(sys.argv[1])
sys.exit(main(sys.argv[2:]))
"""


def start(weights: Path, *arguments: str, stdin: int, stderr: int | None = None) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", COMMAND, str(weights), *arguments, "--threads", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, env=environment)


def test_frames_come_out_before_all_have_gone_in(tiny_weights: Path) -> None:
    picture = b"FRAME\n" + bytes(range(256)) * (picture_bytes(WIDTH, HEIGHT) // 256)
    with start(
        tiny_weights, "encode", "-", "-o", "-", "--gop", "2", "--preset", "fast", stdin=subprocess.PIPE
    ) as encoder:
        assert encoder.stdin
        assert encoder.stdout
        too_long = threading.Timer(120, encoder.kill)  # ends the decoder, too
        too_long.start()
        with start(tiny_weights, "decode", "-", "-o", "-", stdin=encoder.stdout.fileno()) as decoder:
            assert decoder.stdout
            encoder.stdin.write(HEADER + 9 * picture)
            encoder.stdin.flush()
            assert decoder.stdout.readline().startswith(b"YUV4MPEG2 W64 H48 F25:1")
            early = decoder.stdout.read(3 * len(picture))
            assert early.count(b"FRAME\n") == 3
            encoder.stdin.write(2 * picture)
            encoder.stdin.close()
            assert len(early) + len(decoder.stdout.read()) == 11 * len(picture)
        too_long.cancel()
    assert (encoder.returncode, decoder.returncode) == (0, 0)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_named_pipe_is_read_as_y4m(run: Command, tmp_path: Path) -> None:
    clip, target = tmp_path / "clip", tmp_path / "a.bcv"
    os.mkfifo(clip)
    data = HEADER + b"FRAME\n" + bytes(picture_bytes(WIDTH, HEIGHT))
    writer = threading.Thread(target=clip.write_bytes, args=(data,))
    writer.start()
    assert run("encode", clip, "-o", target, "--threads", 1).status == 0
    writer.join(60)
    assert target.stat().st_size > 0
