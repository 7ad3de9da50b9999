"""The .bcv container: sequence header, packets, trailer. Little-endian; writing and reading need no seek.

    file      = sequence header, packet*, trailer packet, footer

    sequence header, 58 bytes
       0   4  magic 89 42 43 56 ("\\x89BCV")
       4   2  format version (6)
       6   2  arithmetic version
       8   8  model id: first 8 bytes of the weights' SHA-256
      16   2  width                       18   2  height
      20   1  bit depth (8, 10)           21   1  chroma format (1 = 4:2:0)
      22   1  GOP size (1..64)            23   1  colour range (0 unspecified, 1 limited, 2 full)
      24   1  colour primaries            25   1  transfer characteristics       (24..26 as in H.273)
      26   1  matrix coefficients         27   1  chroma location (0 unspecified, FFmpeg's 1..6)
      28   2  rotation in degrees (0..359)
      30   8  frame rate                  38   8  time base        (each numerator, then denominator)
      46   8  sample aspect ratio (0/1 = unknown)
      54   4  CRC-32 of bytes 0..53

    packet, any kind
       0   1  kind: BC frame, BD auxiliary, BE trailer
       1   v  length of the body
           n  body
           2  lower half of the CRC-32 of everything from the kind to the end of the body

    body of a frame packet                      body of an auxiliary packet
       0   v  poc                                  0   1  stream index
           1  bit 0     frame type (0 I, 1 B)      1   1  flags
              bit 1     referenced                 2   8  pts, signed
              bits 2-4  temporal layer            10   8  dts, signed
              bits 5-7  offset of chroma's qp     18   8  duration
           1  bits 0-5  qp                        26   m  payload
              bit 6     there is a delay
           2  hash of the decoded picture: lower half of the CRC-32 of its planes
           v  delay, signed, if there is one
           m  payload

    body of the trailer packet                  footer, 8 bytes
       0   v  number of frames                     0   4  length of the trailer packet
           v  number of I frames                   4   4  magic "BCVE"
           and for each I frame:
           v  poc, less that of the one before (the first: less -1)
           v  byte offset of its packet in the file, less that of the one before

The offset of chroma's qp from the frame's is four times these three bits.
v is a varint: seven bits a byte, lowest first, the high bit set on all bytes but the last, never longer than
needed; a signed value d is the varint of 2 d, or of -2 d - 1 where d is negative. n is the length of the
body, m what is left of it. I frames come in ascending poc. A frame packet is its payload and 9 to 21 bytes
more.

A picture of poc p is shown p / rate seconds after that of poc 0 where there is no delay, else so many units
of the time base after the multiple of it that is nearest to that (of two, the even one). At a constant rate
no picture has a delay, however coarse the times of the source were.

To decode from the I frame of poc a on, begin at its packet and drop the B frames with poc < a that follow:
they lead it in display order, and their past is missing.
"""

from bcodec.bitstream.reader import BitstreamReader, with_damage
from bcodec.bitstream.records import (
    CHROMA_OFFSETS,
    MAX_AREA,
    MAX_FRAMES,
    MAX_GOP_SIZE,
    MAX_PAYLOAD,
    MAX_QP,
    MAX_SIDE,
    MAX_TEMPORAL_LAYER,
    MIN_SIDE,
    AuxiliaryPacket,
    FrameType,
    Index,
    IndexEntry,
    Packet,
    PacketHeader,
    SequenceHeader,
    VideoFormat,
)
from bcodec.bitstream.versions import ARITHMETIC_VERSION, FORMAT_VERSION
from bcodec.bitstream.writer import BitstreamWriter

__all__ = [
    "ARITHMETIC_VERSION",
    "CHROMA_OFFSETS",
    "FORMAT_VERSION",
    "MAX_AREA",
    "MAX_FRAMES",
    "MAX_GOP_SIZE",
    "MAX_PAYLOAD",
    "MAX_QP",
    "MAX_SIDE",
    "MAX_TEMPORAL_LAYER",
    "MIN_SIDE",
    "AuxiliaryPacket",
    "BitstreamReader",
    "BitstreamWriter",
    "FrameType",
    "Index",
    "IndexEntry",
    "Packet",
    "PacketHeader",
    "SequenceHeader",
    "VideoFormat",
    "with_damage",
]
