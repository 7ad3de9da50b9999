"""What the B frame codec starts from, and the motion that it expects."""

import torch
from motions import moving, reference, typical

from bcodec.coding import CollocatedMotion
from bcodec.networks import Networks
from bcodec.networks.bframe import expected_motion


def test_b_frame_codec_starts_from_the_intra_codec(tiny_networks: Networks) -> None:
    networks = Networks(tiny_networks.channels)
    before = {k: v.clone() for k, v in networks.bframe.state_dict().items()}
    networks.bframe.start_from(networks.intra)
    ours, theirs = networks.bframe.state_dict(), networks.intra.state_dict()
    alone = "synthesis.level1.2", "synthesis.level2.2", "prior.model.", "prior.transform."
    assert {name for name in theirs if not name.startswith(alone)} < ours.keys()
    wider = {name for name in ours if name in theirs and ours[name].shape != theirs[name].shape}
    assert {name.rsplit(".", 1)[0] for name in wider} == {
        f"hyperprior.entropy.colours.{number}.hidden" for number in range(2)
    }  # they see contexts, too
    for name, value in ours.items():
        assert torch.equal(value, before[name] if name in wider else theirs.get(name, before[name]))


def test_motion_between_references_predicts_that_of_a_frame_between_them() -> None:
    motion = CollocatedMotion(moving(-8, 4), moving(1, 1), (4, 4))
    after = expected_motion(reference(), reference(motion), (1, 3))
    assert typical(after.past) == [-2, 1]
    assert typical(after.future) == [6, -3]
    motion = CollocatedMotion(moving(1, 1), moving(8, -4), (4, 4))
    before = expected_motion(reference(motion), reference(), (1, 3))
    assert typical(before.past) == [-2, 1]
    assert typical(before.future) == [6, -3]


def test_motion_behind_one_reference_goes_on_as_that_came() -> None:
    motion = CollocatedMotion(moving(-8, 4), moving(1, 1), (4, 4))
    prediction = expected_motion(reference(motion), reference(motion), (2, -2))
    assert typical(prediction.past) == typical(prediction.future) == [-4, 2]


def test_without_motion_between_the_references_none_is_predicted() -> None:
    motion = CollocatedMotion(moving(-8, 4), moving(1, 1), (4, 4))
    for past, future in ((None, None), (motion, None), (None, motion)):
        prediction = expected_motion(reference(past), reference(future), (1, 1))
        assert not prediction.past.any()
        assert not prediction.future.any()
