"""What HDR10 says of light: the display that a film was mastered on, and how bright its pictures get.

The module `sidecar` has the diagram.
"""

import struct
from dataclasses import dataclass
from typing import Self

from bcodec.bitstream.records import check
from bcodec.bitstream.tags import split

_LIGHT = struct.Struct("<8H2I2H")


@dataclass(frozen=True)
class Light:
    """Of the mastering display (SMPTE ST 2086) and of the content (CTA-861.3), 0 where it is not known.

    `chromaticity`: x and y of red, green, blue and white, in 1/50000; `brightest` and `darkest` in 1/10000
    cd/m2; `max_cll` and `max_fall`, the light of the brightest sample and of the brightest picture, in cd/m2.
    Raises BitstreamError for a value that has not room.
    """

    chromaticity: tuple[int, ...] = (0,) * 8
    brightest: int = 0
    darkest: int = 0
    max_cll: int = 0
    max_fall: int = 0

    def __post_init__(self) -> None:
        check("number of chromaticities", len(self.chromaticity), 8, 8)
        for value in (*self.chromaticity, self.max_cll, self.max_fall):
            check("chromaticity or light level", value, 0, 2**16 - 1)
        for value in (self.brightest, self.darkest):
            check("luminance", value, 0, 2**32 - 1)

    def __str__(self) -> str:
        names = "red", "green", "blue", "white"
        places = zip(names, self.chromaticity[::2], self.chromaticity[1::2], strict=True)
        points = ", ".join(f"{name} {x / 50000:g} {y / 50000:g}" for name, x, y in places)
        display = f"mastered at {self.darkest / 10000:g} to {self.brightest / 10000:g} cd/m2 ({points})"
        content = f"content up to {self.max_cll} cd/m2, a picture up to {self.max_fall}"
        return ", ".join([display] * self.has_display + [content] * self.has_content)

    @property
    def has_display(self) -> bool:
        """Whether all of the mastering display is known."""
        return bool(all(self.chromaticity) and self.brightest)

    @property
    def has_content(self) -> bool:
        """Whether something of the content is known."""
        return bool(self.max_cll or self.max_fall)

    def to_bytes(self) -> bytes:
        """Lay it out."""
        levels = self.brightest, self.darkest, self.max_cll, self.max_fall
        return _LIGHT.pack(*self.chromaticity, *levels)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read it back; raises Corrupt where there are fewer bytes."""
        values = _LIGHT.unpack(split(data, _LIGHT.size)[0])
        return cls(values[:8], *values[8:])
