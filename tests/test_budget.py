"""The networks keep to their budget, and it is counted right."""

import pytest

from bcodec.encoder.analyst import Analyst
from bcodec.networks import Channels, Networks
from bcodec.networks.__main__ import table
from bcodec.networks.blockdct import COEFFICIENTS
from bcodec.networks.budget import Usage, measure


@pytest.fixture(scope="module")
def usage() -> Usage:
    return measure(Networks(), Analyst)


def test_networks_keep_to_the_budget(usage: Usage) -> None:
    for name, (used, allowed) in usage.limits().items():
        assert 0 < used <= allowed, name


def test_count_of_a_part_is_that_of_its_layers(usage: Usage) -> None:
    """The analysis of the intra codec, by hand."""
    channels = Channels()
    c1, c2, c3 = channels.level1, channels.level2, channels.level3
    by_hand = (
        (COEFFICIENTS + c3) * channels.y / 16**2
        + (24 * c1 + 2 * c1 * c1) * 9 / 4**2
        + (c1 * c2 + 2 * c2 * c2) * 9 / 8**2
        + (c2 * c3 + 4 * c3 * c3) * 9 / 16**2
    )
    assert usage.encode_i["intra.analysis"] == pytest.approx(by_hand / 1000)
    assert "intra.analysis" not in usage.decode_i


def test_table_has_every_part_and_every_parameter(usage: Usage) -> None:
    lines = list(table(usage))
    parameters = sum(p.numel() for p in Networks().parameters())
    assert any(line.startswith("all ") and f"{parameters:,}" in line for line in lines)
    assert all(any(line.startswith(f"{part} ") for line in lines) for part in usage.parameters)
