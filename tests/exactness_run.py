"""Encode and decode a clip, and print the MD5 of the payloads and of the decoded planes.

    python tests/exactness_run.py WEIGHTS [VIDEO [FRAMES]] [--variant threads=1] [--variant mkldnn=off] ...

One line for each variant, all run in this process: variant, MD5 of the payloads, MD5 of the planes. All
decode what the first has encoded. Environment variables that choose instructions are set by the caller.
"""

import argparse
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import torch
from clips import format_of, moving

from bcodec.bitstream import ARITHMETIC_VERSION, Packet, SequenceHeader
from bcodec.decoder import decode
from bcodec.encoder.encode import Settings, encode
from bcodec.frame import Frame
from bcodec.networks import Networks, load_networks
from bcodec.video import VideoReader

SETTINGS = Settings(qp=40, gop_size=2, scene_cut=False)


def clip(video: str | None, count: int) -> list[Frame]:
    """The first frames of a video, or of the synthetic clip."""
    if video is None:
        return moving(count, 120, 60, speed=4, grain=3)
    with VideoReader(video) as reader:
        return list(islice(reader, count))


def encoded(frames: list[Frame], networks: Networks) -> list[Packet]:
    return list(encode(frames, SETTINGS, networks))


def header_of(frame: Frame, networks: Networks) -> SequenceHeader:
    return SequenceHeader(format_of(frame), SETTINGS.gop_size, ARITHMETIC_VERSION, networks.model_id)


def payload_md5(packets: list[Packet]) -> str:
    return hashlib.md5(b"".join(packet.payload for packet in packets)).hexdigest()


def planes_md5(packets: list[Packet], header: SequenceHeader, networks: Networks) -> str:
    digest = hashlib.md5()
    for frame in decode(packets, header, networks):
        digest.update(frame.to_bytes())
    return digest.hexdigest()


def run(weights: Path, video: str | None, count: int, variants: list[str]) -> Iterator[str]:
    """Yield the line of each variant: a device, threads=N, mkldnn=off, or default."""
    frames, first = clip(video, count), None
    for variant in variants:
        name, _, value = variant.partition("=")
        with ExitStack() as stack:
            if name == "threads":
                stack.callback(torch.set_num_threads, torch.get_num_threads())
                torch.set_num_threads(int(value))
            if variant == "mkldnn=off":
                stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
            networks = load_networks(weights, "cuda" if name == "cuda" else "cpu")
            packets = encoded(frames, networks)
            first = first or packets
            planes = planes_md5(first, header_of(frames[0], networks), networks)
            yield f"{variant} {payload_md5(packets)} {planes}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("video", nargs="?")
    parser.add_argument("frames", nargs="?", type=int, default=4)
    parser.add_argument("--variant", action="append")
    arguments = parser.parse_args()
    for line in run(arguments.weights, arguments.video, arguments.frames, arguments.variant or ["default"]):
        print(line, flush=True)


if __name__ == "__main__":
    main()
