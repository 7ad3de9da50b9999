"""bcodec: a neural B-frame video codec whose bitstreams decode to the same picture on every machine.

The house. An import only goes down: to a room below, or within a room to a file behind a ">".

Faces:
    __main__.py            bcodec, python -m bcodec
    cli/                   main > encode decode verify compare demo info man
                           > arguments failures progress > console signals
    train/                 __main__ > plan draw > run counting eightbits hyperlatents latents likelihood
                           recording stages > encodes > clips excerpts losses > checkpoint optimizers
                           rounding step pack > batch squeeze > recorded
    networks/__main__.py   python -m bcodec.networks: what the networks take
    __init__.py            the public names

Files and pictures, without a screen:
    pipeline/              encode > fit verify decode compare > forecast pictures > passes batch > opening
                           > beside jobs notes clock > output plan inspect journal spool demo
                           > tally stdio moments colour
    video/                 __init__ > reader writer > demux mux quality > choice sizes seek pipe breaks
                           light raw > extras said > tracks > convert subtitles adts y4m timeline matroska
                           wholeness > base

What only an encoder decides: bytes may change, files stay valid:
    encoder/               ratecontrol resume parallel > encode > group > trial tuning groups importance
                           > temporalfilter analyst rdoq > motion filters > blocksizes worth effort qp scenes
    encoder/motion/        find > choose directions flat > search > matching pan > sheet

What decides a decoded bit: a change is a new ARITHMETIC_VERSION, and tests/test_pins.py says so:
    decoder.py             packets to frames in display order
    windows.py             packets to frames in coding order, by one process or a crew
    needed.py              which packets some frames need
    codec.py               FrameCodec, the one path; packets to pictures by it
    networks/              budget > __init__ > bframe loopfilter weights > context intra
                           > reference motion quincunx deblock > prior
                           angular > surroundings > latent blockdct > layers
    networks/motion/       codec > prior shift > vectors segments > blocks
    entropy/               coder meter > signs > tables > distributions
    coding.py              what networks are handed: SymbolCoder, Encoder
    cells.py               some of the blocks of pictures
    samples.py             the tensor that networks see of a picture
    fixedpoint.py          exact layers
    int8.py                the same sums by int8 kernels

What the format says, and what all stand on:
    gop.py                 coding order
    dpb.py                 decoded picture buffer, display order
    frame.py               one picture
    metrics.py             PSNR, MS-SSIM, BD-rate
    processes.py           work that several of them share
    cluster.py             work that workers of several machines share
    crew.py                those who share it, whoever they are
    bitstream/             sidecar __init__ > extras reader writer > layout light > tags > records versions
    errors.py              every error raised on purpose

How a frame flows:

    encode   file -> VideoReader -> Frame -> Group -> Task -> FrameCodec.begin(ThriftyWriter, Analyst)
             -> FrameCodec.complete(ThriftyWriter, Analyst), maybe again
             -> Packet -> BitstreamWriter -> file
    decode   file -> BitstreamReader -> Packet -> FrameCodec.code(RangeReader) -> DisplayOrder
             -> Frame -> VideoWriter -> file
    train    clip or Pack -> Batch -> networks(RateMeter, Analyst or Recorded) -> loss -> Step -> weights

Words: poc is the display index; coding order is the order of packets. An anchor is a frame of temporal layer
0. past and future are the two references of a B frame (f and b in the paper), of B* the same one twice. y is
a latent, z a hyper-latent, _hat is after quantization. qp is the user's 0..63, q_step the quantization step
that it selects. A packet is one coded frame, its payload the range-coded bytes; side data is what lies beside
the pictures. encode and decode are between frames and packets; `code` is either way.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bcodec.bitstream import (
        ARITHMETIC_VERSION,
        BitstreamReader,
        BitstreamWriter,
        Packet,
        SequenceHeader,
        VideoFormat,
    )
    from bcodec.codec import pick_device
    from bcodec.decoder import decode
    from bcodec.encoder.encode import Settings, encode
    from bcodec.errors import BcodecError, BitstreamError, CodecError, VideoError, WeightsError
    from bcodec.frame import Frame
    from bcodec.metrics import Quality, bits_per_pixel
    from bcodec.networks import Networks, load_networks
    from bcodec.video import VideoReader, VideoWriter

__version__ = "0.1.0"

__all__ = [
    "ARITHMETIC_VERSION",
    "BcodecError",
    "BitstreamError",
    "BitstreamReader",
    "BitstreamWriter",
    "CodecError",
    "Frame",
    "Networks",
    "Packet",
    "Quality",
    "SequenceHeader",
    "Settings",
    "VideoError",
    "VideoFormat",
    "VideoReader",
    "VideoWriter",
    "WeightsError",
    "bits_per_pixel",
    "decode",
    "encode",
    "load_networks",
    "pick_device",
]

# Where the public names are: each is imported when it is asked for. torch takes seconds, and `bcodec --help`
# needs none of it; and who decodes needs nothing of the encoder.
_HOMES = {
    "bitstream": (
        "ARITHMETIC_VERSION",
        "BitstreamReader",
        "BitstreamWriter",
        "Packet",
        "SequenceHeader",
        "VideoFormat",
    ),
    "codec": ("pick_device",),
    "decoder": ("decode",),
    "encoder.encode": ("Settings", "encode"),
    "errors": ("BcodecError", "BitstreamError", "CodecError", "VideoError", "WeightsError"),
    "frame": ("Frame",),
    "metrics": ("Quality", "bits_per_pixel"),
    "networks": ("Networks", "load_networks"),
    "video": ("VideoReader", "VideoWriter"),
}


def __getattr__(name: str) -> object:
    """Import a public name from where it is."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"bcodec.{home}"), name)
    raise AttributeError(f"module 'bcodec' has no attribute {name!r}")
