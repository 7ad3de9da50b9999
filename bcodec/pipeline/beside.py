"""Coded pictures beside their sources, in display order: what FFmpeg's filters say of an encode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bcodec.bitstream import VideoFormat
from bcodec.encoder.ratecontrol import Unit
from bcodec.encoder.trial import CodedFrame
from bcodec.frame import Frame
from bcodec.pipeline.journal import Journal
from bcodec.video.quality import XPSNR_MEMORY, QualityFilters


class Beside:
    """Measures frames as they are coded, and notes it in a journal; holds those that are not measured yet.

    A frame that was coded in an earlier run is not measured.
    """

    def __init__(self, format: VideoFormat, journal: Journal) -> None:
        self.filters = QualityFilters(format.width, format.height, format.frame_rate, format.bit_depth)
        self.journal, self.next = journal, 0
        self.sources: dict[int, Frame] = {}  # by poc
        self.coded: dict[int, CodedFrame] = {}

    def watch(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Give the sources, which the encoder takes, and hold them."""
        for poc, frame in enumerate(frames):
            self.sources[poc] = frame
            yield frame

    def add(self, coded: CodedFrame) -> None:
        """Take a coded frame, in coding order, and measure what can be shown."""
        self.coded[coded.packet.header.poc] = coded
        while self.next in self.coded:
            source, picture = self.sources.pop(self.next), self.coded.pop(self.next).picture
            values = self.filters.measure(source, picture or source)  # the next depends on the source here
            if picture:
                self.journal.note(values)
            self.next += 1


class UnitXpsnr:
    """The mean XPSNR of luma of groups as coded, in dB, as rate control measures it: trial by trial.

    The pictures must be there. What is measured is the same as of the whole video from its beginning.
    """

    def __init__(self, format: VideoFormat) -> None:
        self.filters = QualityFilters(format.width, format.height, format.frame_rate, format.bit_depth)
        self.start = -1  # of the groups that are tried, in poc
        self.before: list[Frame] = []
        self.sources: list[Frame] = []

    def __call__(self, unit: Unit, coded: list[CodedFrame]) -> float:
        """Measure one trial."""
        if unit[0].start != self.start:
            self.start, self.before = unit[0].start, self.sources[-XPSNR_MEMORY:]
            self.sources = [source.frame for group in unit for source in group.frames]
        self.filters.begin(self.before)
        total = 0.0
        for source, frame in zip(self.sources, sorted(coded, key=_poc), strict=True):
            assert frame.picture
            total += self.filters.measure(source, frame.picture)["xpsnr_y"]
        return total / len(coded)


def _poc(coded: CodedFrame) -> int:
    return coded.packet.header.poc
