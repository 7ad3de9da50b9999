"""The search for a qp, on formulas; and quality held group by group, on tiny networks."""

import math
from collections.abc import Callable

import pytest
from clips import format_of, moving

from bcodec.bitstream import ARITHMETIC_VERSION, SequenceHeader
from bcodec.decoder import decode
from bcodec.encoder.encode import Settings
from bcodec.encoder.groups import Group
from bcodec.encoder.importance import INNER_OFFSET
from bcodec.encoder.qp import LAYER_QP, layer_qp
from bcodec.encoder.ratecontrol import analyse, fit_size, hold_quality, search
from bcodec.encoder.trial import CodedFrame
from bcodec.frame import picture_hash
from bcodec.networks import Networks


@pytest.mark.parametrize("at_zero", [-3.0, 0.0, 4.0, 9.0])
@pytest.mark.parametrize("rise", [0.03, 0.06, 0.1])
def test_search_finds_what_is_log_linear(at_zero: float, rise: float) -> None:
    target = at_zero + 41.3 * rise
    made = search(lambda qp: at_zero + rise * qp, target, 32, slope=0.06, tolerance=0.01, trials=6)
    assert made[-1].value == pytest.approx(target, abs=0.01)
    assert len(made) <= 4


@pytest.mark.parametrize(
    "measure",
    [
        lambda qp: (qp / 63) ** 3,
        lambda qp: math.floor(qp / 4) / 16,
        lambda qp: 1 - qp / 63,
        math.sin,
        lambda qp: 0.0,
    ],
)
@pytest.mark.parametrize("target", [-5.0, 0.3, 0.77, 5.0])
def test_search_ends_whatever_it_measures(measure: Callable[[float], float], target: float) -> None:
    made = search(measure, target, 32, slope=0.02, tolerance=0.001, trials=9)
    assert all(0 <= trial.qp <= 63 and trial.qp % 0.125 == 0 for trial in made)
    assert len({trial.qp for trial in made}) == len(made) <= 9


def test_search_goes_to_the_end_for_what_is_out_of_reach() -> None:
    assert search(lambda qp: qp, 99, 32, slope=1, tolerance=0.1, trials=9)[-1].qp == 63
    assert search(lambda qp: qp, -99, 32, slope=1, tolerance=0.1, trials=9)[-1].qp == 0


@pytest.mark.parametrize("largest", [1.1, 3.0, 40.0])
@pytest.mark.parametrize("at_most", [False, True])
def test_a_file_of_the_size_is_found(largest: float, at_most: bool) -> None:
    coded: list[float] = []

    def code(qp: float) -> float:
        coded.append(qp)
        return largest * math.exp(0.07 * (qp - 63)) * (1 + 0.01 * math.sin(9 * qp))

    qp, share = fit_size(code, 32, at_most=at_most)
    assert qp in coded
    assert share == code(qp)
    assert 0.95 <= share <= (1 if at_most else 1.05)
    assert len(coded) <= 6


def test_analysis_comes_near() -> None:
    qp = analyse(lambda qp: 3 * math.exp(0.07 * (qp - 63)), 32)
    assert 3 * math.exp(0.07 * (qp - 63)) == pytest.approx(1, abs=0.03)


def test_a_qp_between_two_integers_raises_one_layer_after_the_other() -> None:
    layers = range(len(LAYER_QP))
    for qp in (20, 33):
        levels = [[layer_qp(qp + eighth / 8, layer) for layer in layers] for eighth in range(9)]
        assert levels[0] == [layer_qp(qp, layer) for layer in layers]
        assert levels[8] == [layer_qp(qp + 1, layer) for layer in layers]
        assert [sum(level) for level in levels] == sorted(sum(level) for level in levels)
        assert len({tuple(level) for level in levels}) == 8


def test_groups_of_different_qp_decode(tiny_networks: Networks) -> None:
    def wanted(
        _: list[Group], coded: list[CodedFrame]
    ) -> float:  # 30 dB at qp 20, 24, 28, ... for the groups in turn
        poc = min(frame.packet.header.poc for frame in coded)
        qps = {frame.packet.header.qp for frame in coded if frame.packet.header.temporal_layer == 0}
        return 30 + 0.35 * (max(qps) - LAYER_QP[0] - 20 - poc)

    frames, settings = moving(12, 40, 24, speed=0), Settings(32, 4, scene_cut=False, preset="fast")
    coded = list(hold_quality(frames, settings, tiny_networks, 30, wanted))
    packets = [frame.packet for frame in coded]
    anchors = [packet.header.qp for packet in packets if packet.header.temporal_layer == 0]
    # The first anchor of a scene has its layer's qp, unlike the one that the group closes with.
    assert [qp - LAYER_QP[0] for qp in anchors] == [20 - INNER_OFFSET, 20, 25, 29]
    header = SequenceHeader(format_of(frames[0]), 4, ARITHMETIC_VERSION, tiny_networks.model_id)
    hashes = [picture_hash(frame) for frame in decode(packets, header, tiny_networks)]
    assert hashes == [p.picture_hash for p in sorted(packets, key=lambda packet: packet.header.poc)]
