"""Progress is told on one line, whole words of it, whatever the width of the terminal."""

import io
import re

import pytest

from bcodec.cli.progress import Bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def line(width: int, total: int | None) -> str:
    """What a terminal of that width shows when 4321 frames are done."""
    bar = Bar(total=total, unit=" frames", leave=False, ncols=width, file=Terminal())
    bar.set_postfix_str("1234 kbit/s", refresh=False)
    bar.n, bar.start_t = 4321, bar.start_t - 1000
    text = str(bar)
    bar.close()
    return text


@pytest.mark.parametrize("width", range(1, 201))
@pytest.mark.parametrize("total", [12_000, None])
def test_no_width_breaks_the_line_or_a_word(width: int, total: int | None) -> None:
    shown = line(width, total)
    assert len(shown) <= width
    if width >= 4:
        assert re.search(r"(%|left|frames/s|kbit/s\]?|\d)$", shown)
    if total and width >= 16:
        assert re.search(r" 36%.*\d\d:\d\d", shown)


def test_what_matters_is_kept_longest() -> None:
    assert line(200, 12_000).endswith("| 4321/12000 [16:40<29:37,  4.32 frames/s, 1234 kbit/s]")
    assert line(60, 12_000) == " 36% 4321/12000, 29:37 left,  4.32 frames/s, 1234 kbit/s"
    assert line(30, 12_000) == " 36% 4321/12000, 29:37 left"
    assert line(20, 12_000) == " 36%, 29:37 left"
    assert line(10, 12_000) == " 36%"
    assert line(0, 12_000) == line(80, 12_000)
    assert line(80, None) == "4321 frames [16:40,  4.32 frames/s, 1234 kbit/s]"
