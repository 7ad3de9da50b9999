"""The journal of an encode: what became of each frame, in numbers, and their sums."""

from __future__ import annotations

import json
import math
from typing import Any, TextIO

from bcodec.bitstream import FrameType
from bcodec.encoder.trial import CodedFrame
from bcodec.metrics import Quality
from bcodec.pipeline.tally import in_frames

XPSNR = "xpsnr_y", "xpsnr_u", "xpsnr_v", "xpsnr_yuv"
SUMMARY = "psnr_y", "psnr_u", "psnr_v", "psnr_yuv", *XPSNR, "ssim"  # what of Quality is in the summary


class Journal:
    """Counts coded frames, and writes each into `file`, where there is one, as a line of JSON.

    A frame: poc, type (I, B), layer, qp, chroma_offset (from that to chroma's qp), motion_bits, content_bits,
    header_bits (all of its packet but the payload), psnr_y, psnr_u, psnr_v in dB, seconds. Of a frame kept
    from an earlier run, less.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self.file = file
        self.frames = self.i_frames = self.bits = self.motion_bits = self.content_bits = 0
        self.seconds = 0.0
        self.sums = [0.0] * len(Quality._fields)
        self.measured = self.noted = 0
        self.notes: dict[str, float] = {}  # sums, by the names of Quality

    def add(self, coded: CodedFrame, size: int) -> None:
        """Count a frame whose packet takes `size` bytes of the file."""
        header, payload = coded.packet.header, len(coded.packet.payload) * 8
        self.frames += 1
        self.i_frames += header.frame_type is FrameType.I
        self.bits += size * 8
        line: dict[str, Any] = {
            "poc": header.poc,
            "type": header.frame_type.name,
            "layer": header.temporal_layer,
            "qp": header.qp,
            "chroma_offset": header.chroma_offset,
            "payload_bits": payload,
            "header_bits": size * 8 - payload,
        }
        if coded.quality:
            line |= self._measured(coded, coded.quality, payload)
        self._write(line)

    def _measured(self, coded: CodedFrame, quality: Quality, payload: int) -> dict[str, Any]:
        self.measured += 1
        self.motion_bits += coded.motion_bits
        self.content_bits += payload - coded.motion_bits
        self.seconds += coded.seconds
        self.sums = [a + b for a, b in zip(self.sums, quality, strict=True)]
        return {
            "motion_bits": coded.motion_bits,
            "content_bits": payload - coded.motion_bits,
            "psnr_y": round(quality.psnr_y, 4),
            "psnr_u": round(quality.psnr_u, 4),
            "psnr_v": round(quality.psnr_v, 4),
            "seconds": round(coded.seconds, 4),
        }

    def note(self, values: dict[str, float]) -> None:
        """Count what filters said of a frame, by the names of Quality."""
        self.noted += 1
        self.notes = {name: self.notes.get(name, 0.0) + value for name, value in values.items()}

    @property
    def quality(self) -> Quality | None:
        """The mean over the frames coded in this run; None without any."""
        if not self.measured:
            return None
        noted = {name: value / self.noted for name, value in self.notes.items()}
        return Quality(*(value / self.measured for value in self.sums))._replace(**noted)

    def to_lines(self) -> list[str]:
        """Tell the quality in words."""
        if not (q := self.quality):
            return ["PSNR: no frame was coded in this run"]
        over = f"(mean over {in_frames(self.measured)})"
        values = f"Y {q.psnr_y:.2f}, U {q.psnr_u:.2f}, V {q.psnr_v:.2f}, YUV 6:1:1 {q.psnr_yuv:.2f} dB"
        lines = [f"PSNR {values} {over}"]
        if not math.isnan(q.xpsnr_y):
            values = (
                f"Y {q.xpsnr_y:.2f}, U {q.xpsnr_u:.2f}, V {q.xpsnr_v:.2f}, YUV 6:1:1 {q.xpsnr_yuv:.2f} dB"
            )
            lines.append(f"XPSNR {values} {over}")
        if not math.isnan(q.ssim):
            lines.append(f"SSIM Y {q.ssim:.5f} {over}")
        return lines

    def close(self, **more: Any) -> None:
        """Write the summary line, {"summary": {...}}: sums and means over frames, and what else is given."""
        summary: dict[str, Any] = {
            "frames": self.frames,
            "i_frames": self.i_frames,
            "bits": self.bits,
            "frames_measured": self.measured,
            "motion_bits": self.motion_bits,
            "content_bits": self.content_bits,
            "seconds": round(self.seconds, 4),
        }
        if q := self.quality:
            values = {name: getattr(q, name) for name in SUMMARY}
            summary |= {name: round(value, 5) for name, value in values.items() if not math.isnan(value)}
        self._write({"summary": summary | more})

    def _write(self, line: dict[str, Any]) -> None:
        if self.file:
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()
