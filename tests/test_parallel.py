"""Several processes give the bytes of one."""

import multiprocessing
from collections.abc import Iterator

import pytest
from clips import moving

from bcodec.encoder.effort import PRESETS
from bcodec.encoder.encode import Settings, code_frames, split
from bcodec.encoder.parallel import code_in_parallel
from bcodec.frame import Frame, picture_hash
from bcodec.networks import Networks
from bcodec.processes import Processes

MEDIUM = PRESETS["medium"]
SETTINGS = Settings(qp=20, gop_size=2, scene_cut=True)


@pytest.mark.parametrize("bits", [8, 10])
def test_processes_give_the_packets_of_one(tiny_networks: Networks, bits: int) -> None:
    # Grainy, so that frames are filtered by their neighbours in other groups.
    clip = moving(2, 40, 24, grain=3) + moving(5, 40, 24, seed=1, grain=3)
    frames = [frame.at_depth(bits) for frame in clip]
    alone = list(code_frames(frames, SETTINGS, tiny_networks))
    parts = split(frames, SETTINGS)
    together = list(
        code_in_parallel(parts, SETTINGS.qp, tiny_networks, MEDIUM, crew=Processes(2), pictures=True)
    )
    assert [coded.packet for coded in together] == [coded.packet for coded in alone]
    assert [coded.motion_bits for coded in together] == [coded.motion_bits for coded in alone]
    hashes = [picture_hash(coded.picture) for coded in together if coded.picture]
    assert hashes == [coded.packet.picture_hash for coded in alone]
    assert {coded.picture for coded in alone} == {None}
    anchors = [coded.packet.header for coded in alone if not coded.packet.header.temporal_layer]
    kinds = "".join(header.frame_type.name for header in anchors)
    assert kinds.startswith("IBIB")  # a tail and, in the second scene, an anchor that others follow


def test_processes_end_when_the_input_fails(tiny_networks: Networks) -> None:
    def failing() -> Iterator[Frame]:
        yield from moving(5, 40, 24)
        raise OSError("the input is gone")

    with pytest.raises(OSError, match="the input is gone"):
        list(
            code_in_parallel(
                split(failing(), SETTINGS), SETTINGS.qp, tiny_networks, MEDIUM, crew=Processes(2)
            )
        )
    assert multiprocessing.active_children() == []
