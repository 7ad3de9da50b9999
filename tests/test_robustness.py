"""Damaged and hostile files, kills, full disks and rivals: one clear line, and never half a file.

BCODEC_MUTATIONS=2000 tries that many damaged files; by default it is a sample.
"""

from __future__ import annotations

import io
import json
import os
import re
import resource
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, BinaryIO
from zlib import crc32

import numpy as np
import pytest
from clips import with_sound
from hypothesis import given, settings
from hypothesis import strategies as st
from latents import CODER, latent, read
from latents import written as coded_latents
from packets import HEADER, HEADER_SIZE, open_bytes, raw_packet, written

import bcodec
from bcodec.bitstream import MAX_AREA, MAX_SIDE, BitstreamWriter, FrameType, Packet, PacketHeader
from bcodec.cli.main import main
from bcodec.coding import Part
from bcodec.entropy.coder import SLACK, RangeReader
from bcodec.errors import BitstreamError, EntropyError

MUTATIONS = int(os.environ.get("BCODEC_MUTATIONS", "150"))
MEMORY = 3 << 30  # bytes of data, for the whole process
SECONDS = 20.0  # for one file: far more than it takes, far less than a hang
FRAMES = 5
QUICK = ("--threads", "1", "--device", "cpu")
ENCODE = ("encode", "--gop", "4", "--frames", str(FRAMES))

Packets = list[tuple[int, bytes]]  # kind and body


@pytest.fixture(autouse=True)
def _tiny(tiny_networks: bcodec.Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bcodec.networks.load_networks", lambda device: tiny_networks)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_sound(tmp_path_factory.mktemp("robustness") / "clip.mkv")


def encoded(source: Path, networks: bcodec.Networks, preset: str) -> bytes:
    """Pictures and sound in a .bcv file: I0 I4 B2 B1 B3."""
    target = source.with_suffix(".bcv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bcodec.networks.load_networks", lambda device: networks)
        assert main([*ENCODE, str(source), "-o", str(target), "-y", "--preset", preset, *QUICK]) == 0
    return target.read_bytes()


@pytest.fixture(scope="module")
def coded(source: Path, tiny_networks: bcodec.Networks) -> bytes:
    return encoded(source, tiny_networks, "fast")


@pytest.fixture(scope="module")
def coded_with_all(source: Path, tiny_networks: bcodec.Networks) -> bytes:
    """A file in which motion and loop filters come in all their kinds."""
    return encoded(source, tiny_networks, "medium")


@contextmanager
def limited(limit: int, value: int) -> Iterator[None]:
    before = resource.getrlimit(limit)
    resource.setrlimit(limit, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(limit, before)


# ---------------------------------------------------------------- mutations


def varint(value: int) -> bytes:
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])


def taken_apart(data: bytes) -> Packets:
    """The packets of a sound file, by the format's description."""
    packets, place = [], HEADER_SIZE
    while place < len(data) - 8:
        kind, place, length, shift = data[place] - 0xBC, place + 1, 0, 0
        while True:
            byte, place = data[place], place + 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        packets.append((kind, data[place : place + length]))
        place += length + 2
    return packets


def put_together(header: bytes, packets: Packets) -> bytes:
    parts = [raw_packet(kind, body, varint(len(body))) for kind, body in packets]
    return header + b"".join(parts) + struct.pack("<I4s", len(parts[-1]) if parts else 0, b"BCVE")


def flip(rng: Random, data: bytes, most: int = 8) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, most) if data else 0):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def any_number(rng: Random, bits: int) -> int:
    """A number of so many bits, often one at which something ends."""
    edge = rng.choice([0, 1, 2, 16, 64, 8192, 4320, 1 << bits - 1, (1 << bits) - 1, rng.getrandbits(bits)])
    return edge % (1 << bits)


def flipped_bits(rng: Random, data: bytes) -> bytes:
    return flip(rng, data)


def truncated(rng: Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def spliced(rng: Random, data: bytes) -> bytes:
    """A part of the file taken out, and noise or another part of it put in."""
    a, b, c, d = (rng.randrange(len(data)) for _ in range(4))
    size = rng.randrange(60)
    return data[:a] + rng.choice([b"", rng.randbytes(size), data[min(c, d) : max(c, d)]]) + data[b:]


def moved_packets(rng: Random, data: bytes) -> bytes:
    """Packets swapped, repeated, lost; every checksum is right."""
    packets = taken_apart(data)
    for _ in range(rng.randint(1, 3)):
        i, j = rng.randrange(len(packets)), rng.randrange(len(packets))
        match rng.randrange(3):
            case 0:
                packets[i], packets[j] = packets[j], packets[i]
            case 1:
                packets.insert(j, packets[i])
            case _:
                del packets[i]
                if not packets:
                    break
    return put_together(data[:HEADER_SIZE], packets)


def change(rng: Random, body: bytes, place: int) -> bytes:
    match rng.randrange(7):
        case 0:
            body = flip(rng, body)
        case 1:
            body = flip(rng, body[:30], 3) + body[30:]
        case 2:
            body = body[:place]
        case 3:
            body = body + rng.randbytes(rng.choice([1, 4, 4000]))
        case 4:
            body = body[:place] + rng.randbytes(len(body) - place)
        case 5:
            body = body[:place] + bytes(len(body) - place)
        case _:
            body = rng.randbytes(rng.randrange(60))
    return body


def changed_bodies(rng: Random, data: bytes) -> bytes:
    """Bodies of frames, sound, headers of streams or the trailer changed; every checksum is right."""
    packets = taken_apart(data)
    for _ in range(rng.randint(1, 2)):
        i = rng.randrange(len(packets))
        kind, body = packets[i]
        changed = change(rng, body, rng.randrange(len(body) + 1))
        packets[i] = rng.choice([kind, kind, kind, rng.randrange(4)]), changed
    return put_together(data[:HEADER_SIZE], packets)


def hostile_frames(rng: Random, data: bytes) -> bytes:
    """Frames that claim another place, type, layer or qp, or have another payload."""
    packets = taken_apart(data)
    for i, (kind, body) in enumerate(packets):
        if kind == 0 and rng.random() < 0.4:  # in a file of few frames, poc is one byte
            poc = rng.choice([body[0], body[0], any_number(rng, 24), any_number(rng, 62)])
            flags, qp = rng.choice([body[1], rng.getrandbits(5)]), rng.choice([body[2], rng.getrandbits(6)])
            payload = rng.choice([body[7:], body[7:], b"", b"\0" * 4, rng.randbytes(400)])
            packets[i] = kind, varint(poc) + bytes([flags, qp]) + body[3:7] + payload
    return put_together(data[:HEADER_SIZE], packets)


def hostile_sequence(rng: Random, data: bytes) -> bytes:
    """Absurd sizes, rates and codes in the sequence header, with the right checksum."""
    header = bytearray(data[: HEADER_SIZE - 4])
    for _ in range(rng.randint(1, 2)):
        at, size = rng.choice(
            [(4, 2), (6, 2), (8, 8), (28, 2)]
            + [(16, 2), (18, 2)] * 4
            + [(i, 1) for i in range(20, 28)]
            + [(i, 4) for i in range(30, 54, 4)]
        )
        header[at : at + size] = any_number(rng, 8 * size).to_bytes(size, "little")
    if rng.random() < 0.3:
        sides = rng.choice([(8192, 4320), (16, 8192), (8192, 16), (1920, 1080), (65, 49), (128, 96)])
        header[16:20] = struct.pack("<HH", *sides)
    return bytes(header) + struct.pack("<I", crc32(header)) + data[HEADER_SIZE:]


def hostile_lengths(rng: Random, data: bytes) -> bytes:
    """A packet whose length is false, with a checksum as if it were true."""
    packets = taken_apart(data)
    i = rng.randrange(len(packets))
    kind, body = packets[i]
    length = rng.choice(
        [varint(any_number(rng, 62)), varint(len(body) + rng.randint(-9, 9) & 0xFFFF), b"\x80" * 9, b"\x80\0"]
    )
    before = put_together(data[:HEADER_SIZE], packets[:i])[:-8]
    return before + raw_packet(kind, body, length) + put_together(b"", packets[i + 1 :])


def hostile_trailer(rng: Random, data: bytes) -> bytes:
    packets = taken_apart(data)
    numbers = [any_number(rng, rng.choice([3, 8, 24, 40, 62])) for _ in range(rng.randrange(9))]
    packets[-1] = 2, b"".join(map(varint, numbers))
    whole = put_together(data[:HEADER_SIZE], packets)
    return whole[:-8] + struct.pack("<I4s", rng.choice([any_number(rng, 32), len(whole)]), b"BCVE")


WAYS = (
    flipped_bits,
    truncated,
    spliced,
    moved_packets,
    changed_bodies,
    changed_bodies,
    hostile_frames,
    hostile_sequence,
    hostile_lengths,
    hostile_trailer,
)


def mutated(number: int, data: bytes) -> tuple[bytes, str, list[str]]:
    """A damaged file, what has been done to it, and how to decode it."""
    rng = Random(number)
    way = WAYS[number % len(WAYS)]
    suffix = rng.choice(["y4m"] * 6 + ["mkv"] * 3 + ["mp4"])
    window = ["--start", str(rng.randrange(9)), "--frames", str(rng.randint(1, 9))]
    return way(rng, data), f"{number} {way.__name__}", [suffix, *(window if rng.random() < 0.25 else [])]


def test_damaged_files_end_with_one_clear_line(
    coded_with_all: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    messages, slowest = Counter[str](), (0.0, "")
    bad = tmp_path / "bad.bcv"
    with limited(resource.RLIMIT_DATA, MEMORY):
        for number in range(MUTATIONS):
            data, name, (suffix, *window) = mutated(number, coded_with_all)
            bad.write_bytes(data)
            target = tmp_path / f"out.{suffix}"
            began = time.monotonic()
            status = main(["decode", str(bad), "-o", str(target), *window, *QUICK])
            slowest = max(slowest, (time.monotonic() - began, name))
            out, err = capfd.readouterr()
            *notices, last = err.splitlines()
            errors = [line for line in (*notices, last) if line.startswith("bcodec: error: ")]
            assert out == "", name
            assert all(line.startswith("bcodec: ") for line in notices), (name, err)
            assert status in (0, 1), (name, err)
            assert errors == [last] * status, (name, err)
            assert "out of memory" not in last, name
            kept = status == 0 or " kept in " in last
            assert {path.name for path in tmp_path.iterdir()} == {bad.name, *[target.name] * kept}, name
            assert not kept or target.stat().st_size > 0, name
            target.unlink(missing_ok=True)
            messages[re.sub(r"\d[\d.]*", "N", last.replace(str(tmp_path), ""))] += 1
    assert slowest[0] < SECONDS, slowest
    with capfd.disabled() if MUTATIONS > 150 else nullcontext():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"\n{MUTATIONS} files, slowest {slowest}, peak {peak} MiB")
        for message, count in messages.most_common():
            print(f"{count:6} {message}")


def test_a_header_of_a_large_picture_costs_nothing_without_its_payload(
    coded: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def synthesis(*_: object) -> None:
        raise AssertionError("a picture was computed")

    monkeypatch.setattr("bcodec.networks.intra.Synthesis.forward", synthesis)
    header = open_bytes(coded).header
    video = replace(header.video, width=MAX_SIDE, height=MAX_AREA // MAX_SIDE)
    for size in (0, 4, 4000):
        noise = np.random.default_rng(size).bytes(size)
        with (
            (tmp_path / "big.bcv").open("wb") as file,
            BitstreamWriter(file, replace(header, video=video)) as writer,
        ):
            writer.write(Packet(PacketHeader(0, FrameType.I, 0, 32, True), noise, 0))
        assert main(["decode", str(tmp_path / "big.bcv"), "-o", str(tmp_path / "o.y4m"), *QUICK]) == 1
        assert "frame 0: the payload ends before its last symbol" in capfd.readouterr().err


@pytest.mark.parametrize("words", ["could not create a primitive", "could not create a memory object"])
def test_lack_of_memory_within_onednn_is_told(
    coded: bytes,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: str,
) -> None:
    def synthesis(*_: object) -> None:
        raise RuntimeError(words)

    monkeypatch.setattr("bcodec.networks.intra.Synthesis.forward", synthesis)
    (tmp_path / "a.bcv").write_bytes(coded)
    assert main(["decode", str(tmp_path / "a.bcv"), "-o", str(tmp_path / "o.mkv"), *QUICK]) == 1
    assert capfd.readouterr().err == "bcodec: error: out of memory\n"
    assert not (tmp_path / "o.mkv").exists()


def test_a_rate_that_ffmpeg_cannot_hold_is_told(
    coded: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    header = coded[:30] + struct.pack("<II", 2**32 - 1, 1) + coded[38 : HEADER_SIZE - 4]
    (tmp_path / "a.bcv").write_bytes(header + struct.pack("<I", crc32(header)) + coded[HEADER_SIZE:])
    assert main(["decode", str(tmp_path / "a.bcv"), "-o", str(tmp_path / "o.mkv"), *QUICK]) == 1
    assert capfd.readouterr().err.endswith("o.mkv: a rate, ratio or time is beyond what FFmpeg can hold\n")
    assert not (tmp_path / "o.mkv").exists()


# ---------------------------------------------------------------- properties


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=40)), max_size=5))
def test_there_is_one_way_to_write_what_a_reader_takes(bodies: Packets) -> None:
    start = written([], HEADER)[:HEADER_SIZE]
    packets = []
    with suppress(BitstreamError):
        for packet in open_bytes(put_together(start, bodies)):
            packets.append(packet)
    file = io.BytesIO()
    writer = BitstreamWriter(file, HEADER)
    for packet in packets:
        writer.write(packet)
    assert file.getvalue() == put_together(start, bodies[: len(packets)])[:-8]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 2**32), max_size=4), st.sampled_from([0.0, 0.02, 1.0]), st.integers(0, 62))
def test_a_payload_is_neither_too_short_nor_much_too_long_for_its_symbols(
    seeds: list[int], outliers: float, lowest: int
) -> None:
    latents = [latent(seed, outliers=outliers, lowest=lowest) for seed in seeds]
    payload, _ = coded_latents(latents)
    reader = RangeReader(CODER, payload)
    for _, mean, scale, step, mask in latents:
        reader.code(Part.CONTENT, None, mean, scale, step, mask)
    # Of the state, 64 bits, half may have told symbols, and be left out as zeros.
    assert SLACK / 2 <= reader.spare <= 2.5 * SLACK + 0.01 * 8 * len(payload)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=64), st.integers(0, 2**32))
def test_a_payload_too_short_for_its_symbols_is_an_error(payload: bytes, seed: int) -> None:
    many = latent(2 * seed, channels=64, lowest=20)  # at the least 0.9 bits each
    with pytest.raises(EntropyError):
        read(payload, [many])


# ---------------------------------------------------------------- a disk that is full


class FullDisk(io.BytesIO):
    """Takes so many bytes, and no more."""

    room = 0

    def write(self, data: object) -> int:
        assert isinstance(data, bytes)
        if self.tell() + len(data) > self.room:
            raise OSError(28, os.strerror(28))
        return super().write(data)


def told_and_gone(
    folder: Path, capfd: pytest.CaptureFixture[str], words: list[str], target: Path, why: str
) -> None:
    assert main([*words, "-o", str(target), *QUICK]) == 1
    *_, last = capfd.readouterr().err.splitlines()
    assert last == f"bcodec: error: {target}: {why}"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("room", [0, 60, 300, -1])
def test_a_disk_may_be_full_at_any_byte(
    source: Path,
    coded: bytes,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    room: int,
) -> None:
    @contextmanager
    def open_binary(path: str, *, over: bool = False) -> Iterator[BinaryIO]:
        with FullDisk() as file:
            file.room = room % len(coded)  # -1: all but the last byte of the trailer
            yield file

    monkeypatch.setattr("bcodec.pipeline.passes.open_binary", open_binary)
    words = [*ENCODE, str(source), "--preset", "fast"]
    told_and_gone(tmp_path, capfd, words, tmp_path / "out.bcv", "No space left on device")


@pytest.mark.parametrize("name", ["out.bcv", "out.y4m", "out.mkv", "out.mp4"])
def test_a_file_may_be_too_large(
    source: Path, coded: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "out").mkdir()
    bcv = tmp_path / "good.bcv"
    bcv.write_bytes(coded)
    words = ["encode", str(source)] if name == "out.bcv" else ["decode", str(bcv)]
    with limited(resource.RLIMIT_FSIZE, 1000):
        told_and_gone(tmp_path / "out", capfd, words, tmp_path / "out" / name, "File too large")


@pytest.mark.parametrize("name", ["out.y4m", "out.mkv", "out.mp4"])
def test_a_small_disk_is_left_empty(
    coded: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    disk, bcv = tmp_path / "disk", tmp_path / "good.bcv"
    disk.mkdir()
    bcv.write_bytes(coded)
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "none", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can make a small disk")
    try:
        told_and_gone(disk, capfd, ["decode", str(bcv)], disk / name, "No space left on device")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# ---------------------------------------------------------------- kills and rivals

# Children are forked once all is imported: a kill then falls into the work, not into imports.
FORKS = """
import json, os, random, signal, sys, time
import torch, bcodec.networks, bcodec.pipeline.encode
from pathlib import Path
from bcodec.cli.main import main
torch.set_num_threads(1)
weights, *words = sys.argv[1:]
networks = bcodec.networks.load_networks(Path(weights))
bcodec.networks.load_networks = lambda device: networks
def fork(*more):
    child = os.fork()
    if child == 0:
        os._exit(main([*words, *more, "--threads", "1", "--device", "cpu"]))
    return child
def status(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
def content():
    data = target.read_bytes() if target.exists() else None
    return "whole" if data == good else "old" if data == old else data and data.hex()
target, rng, found = Path("out.bcv"), random.Random(1), {}
began, old = time.monotonic(), None
assert status(fork("-o", "out.bcv")) == 0
took, good = time.monotonic() - began, target.read_bytes()
for name, more in [("rivals", []), ("rivals with -y", ["-y"]), ("rivals with --resume", ["-y", "--resume"])]:
    target.unlink()
    children = [fork("-o", "out.bcv", *more) for _ in range(2)]
    found[name] = sorted(map(status, children)), content(), sorted(os.listdir())
for name, more in [("killed", ["-y"]), ("killed with --resume", ["-y", "--resume"])]:
    found[name] = []
    for part in (0.1, 0.4, 0.7):
        old = rng.choice([None, b"an older file"])
        target.unlink(missing_ok=True)
        if old:
            target.write_bytes(old)
        child = fork("-o", "out.bcv", *more)
        time.sleep((part + rng.uniform(0, 0.2)) * took)
        os.kill(child, signal.SIGKILL)
        found[name].append([status(child), content()])
    found[name].append([status(fork("-o", "out.bcv", *more)), content()])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def forked(source: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    words = [str(tiny_weights), "encode", str(source), "--gop", "2", "--frames", "3", "--preset", "fast"]
    done = subprocess.run(
        [sys.executable, "-c", FORKS, *words],
        cwd=tmp_path_factory.mktemp("forked"),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("how", ["killed", "killed with --resume"])
def test_a_killed_encode_leaves_no_half_file_by_the_name_of_the_target(
    forked: dict[str, Any], how: str
) -> None:
    *killed, last = forked[how]
    assert killed[0] in ([-9, "old"], [0, "whole"])
    assert all(each in ([-9, "old"], [-9, "whole"], [0, "whole"]) for each in killed)
    assert last == [0, "whole"]


@pytest.mark.parametrize("how", ["rivals", "rivals with -y", "rivals with --resume"])
def test_of_rivals_for_one_name_one_wins_and_its_file_is_whole(forked: dict[str, Any], how: str) -> None:
    statuses, content, files = forked[how]
    assert statuses[0] == 0
    assert set(statuses) <= {0, 1}
    assert content == "whole"
    assert files == ["out.bcv"]
