"""What later frames inherit is coded finer than what they code anew."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from clips import moving

from bcodec.encoder.encode import Settings, code_frames
from bcodec.encoder.groups import sources
from bcodec.encoder.importance import (
    INNER_OFFSET,
    LAST_OFFSET,
    QP_OFFSETS,
    Importance,
    importance,
    place_offset,
    telling,
)
from bcodec.encoder.qp import layer_qp
from bcodec.encoder.temporalfilter import Neighbour, aligned
from bcodec.frame import Frame
from bcodec.gop import intra_anchor
from bcodec.networks import Networks

WIDTH, HEIGHT, STEP = 128, 64, 16.0
SIZE = (4, 8)  # of a latent


def found(frames: list[Frame], step: float = STEP) -> Importance:
    """The importance in the middle one of five frames."""
    beside = [Neighbour(frames[place], abs(place - 2)) for place in (0, 1, 3, 4)]
    return importance(frames[2], aligned(frames[2], telling(beside)), step, SIZE)


def half_new(frames: list[Frame]) -> list[Frame]:
    """The frames with their right half different in each."""
    changed = []
    for seed, frame in enumerate(frames):
        luma = frame.y.copy()
        luma[:, WIDTH // 2 :] = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH // 2))
        changed.append(Frame(luma, frame.u, frame.v))
    return changed


@pytest.mark.parametrize("speed", [0, 2])
def test_where_all_comes_again_the_qp_stays_and_all_blocks_are_alike(speed: int) -> None:
    qp_offset, share = found(moving(5, WIDTH, HEIGHT, speed=speed))
    inside = share[..., 1:-1, 1:-1]
    assert qp_offset == 0
    assert float(inside.max() - inside.min()) < 0.1 * float(inside.mean())


def test_what_is_new_in_each_frame_is_coded_coarser_than_what_comes_again() -> None:
    qp_offset, share = found(half_new(moving(5, WIDTH, HEIGHT, speed=0)))
    again, new = share[..., :4], share[..., 4:]
    assert qp_offset < 0
    assert float(again.min()) > 10 * float(new.max())


def test_the_coarser_the_quantization_the_more_is_inherited() -> None:
    frames = moving(5, WIDTH, HEIGHT, grain=6)
    offsets = [found(frames, step).qp_offset for step in (2.0, 8.0, 32.0, 128.0)]
    assert offsets == sorted(offsets)
    assert offsets[0] < offsets[-1]


def test_a_qp_moves_no_further_than_it_may() -> None:
    frames = [
        Frame(f.y[::-1].copy() if i != 2 else f.y, f.u, f.v) for i, f in enumerate(moving(5, WIDTH, HEIGHT))
    ]
    assert found(frames, 0.25).qp_offset == QP_OFFSETS[0]


def test_anchors_within_a_scene_are_coded_finer_and_a_predicted_one_that_ends_it_coarser() -> None:
    frames = moving(9, WIDTH, HEIGHT)
    marked = [*sources([(frame, place == 4) for place, frame in enumerate(frames)], 2, filtered=False)]
    slot = intra_anchor(0, 4)
    found = [
        [place_offset(source, replace(slot, intra=intra, temporal_layer=layer)) for source, _ in marked]
        for intra, layer in ((False, 0), (True, 0), (False, 1))
    ]
    within = [0, INNER_OFFSET, INNER_OFFSET, LAST_OFFSET, 0, INNER_OFFSET, INNER_OFFSET, INNER_OFFSET]
    assert found[0] == [*within, LAST_OFFSET]
    assert found[1] == [0 if offset == LAST_OFFSET else offset for offset in found[0]]
    assert found[2] == [0] * 9


def test_both_depths_of_a_picture_are_as_important() -> None:
    frames = half_new(moving(5, WIDTH, HEIGHT, grain=2))
    shallow, deep = (found([frame.at_depth(bits) for frame in frames]) for bits in (8, 10))
    assert shallow.qp_offset == deep.qp_offset
    assert torch.allclose(shallow.share, deep.share, rtol=0.1)


def test_a_latent_is_filled_up_with_what_its_last_blocks_are_worth() -> None:
    frames = moving(5, 72, 44, grain=3)
    share = found(frames).share
    assert share.shape == (1, 1, *SIZE)
    assert torch.equal(share[..., 5:], share[..., 4:5].expand(-1, -1, -1, 3))
    assert torch.equal(share[..., 3:, :], share[..., 2:3, :])


def test_only_frames_that_others_refer_to_leave_their_qp(tiny_networks: Networks) -> None:
    frames = half_new(moving(9, WIDTH, HEIGHT))
    settings = Settings(40, 4, 4, scene_cut=False, preset="fast", temporal_filter=False)
    off = {True: 0, False: 0}
    for coded in code_frames(frames, settings, tiny_networks):
        header = coded.packet.header
        off[header.referenced] += header.qp != layer_qp(40, header.temporal_layer)
    assert off[True] > 0
    assert off[False] == 0
