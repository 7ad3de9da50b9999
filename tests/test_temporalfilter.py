"""The temporal filter takes noise away and nothing else, and gives the same picture wherever it runs."""

import zlib
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from clips import flat, moving, noise

from bcodec.codec import FrameCodec
from bcodec.dpb import DecodedPictureBuffer
from bcodec.encoder.effort import PRESETS
from bcodec.encoder.encode import Settings, code_groups, split
from bcodec.encoder.group import GroupCoder, Part
from bcodec.encoder.groups import groups, sources
from bcodec.encoder.importance import importance, telling
from bcodec.encoder.qp import layer_qp
from bcodec.encoder.resume import go_on
from bcodec.encoder.temporalfilter import REACH, Source, align, aligned, filtered, filters, samples
from bcodec.encoder.trial import Task, code_frame
from bcodec.errors import CodecError
from bcodec.frame import DEPTH, Frame
from bcodec.gop import intra_anchor
from bcodec.metrics import Quality
from bcodec.networks import Networks

WIDTH, HEIGHT, STEP = 72, 44, 16.0
PINNED = 1783367425  # CRC-32 of a filtered picture
FAST = PRESETS["fast"]
FILTERED = Settings(8, 2, 2, scene_cut=False, preset="fast", temporal_filter=True)


def source(frames: list[Frame], place: int) -> Source:
    """A frame with its neighbours."""
    return [each for each, _ in sources(((frame, False) for frame in frames), REACH, filtered=True)][place]


def smoothed(one: Source, step: float, layer: int) -> Frame:
    """What is coded in its place."""
    if not filters(one, step, layer):
        return one.frame
    return filtered(one.frame, aligned(one.frame, one.beside), step, layer)


def same(one: Frame, other: Frame) -> bool:
    return one.to_bytes() == other.to_bytes()


@pytest.mark.parametrize("layer", range(4))
def test_what_stands_still_stays_as_it_is(layer: int) -> None:
    frames = moving(5, WIDTH, HEIGHT, speed=0)
    assert same(smoothed(source(frames, 2), STEP, layer), frames[2])


def test_noise_is_removed_from_luma_and_chroma() -> None:
    clean, grainy = (moving(5, WIDTH, HEIGHT, speed=2, grain=grain) for grain in (0, 3))
    before = Quality.of(clean[2].planes, grainy[2].planes)
    after = Quality.of(clean[2].planes, smoothed(source(grainy, 2), STEP, 0).planes)
    assert all(a > b + 1 for a, b in zip(after.planes, before.planes, strict=True))


def test_the_finer_the_step_and_the_deeper_the_layer_the_less_is_filtered() -> None:
    grainy = source(moving(5, WIDTH, HEIGHT, grain=3), 2)

    def moved(step: float, layer: int) -> float:
        luma = smoothed(grainy, step, layer).y
        return float(np.abs(luma.astype(int) - grainy.frame.y).mean())

    assert moved(32, 0) > moved(8, 0) > moved(4, 0) > moved(3, 0) == 0
    assert moved(32, 0) > moved(32, 1) > moved(32, 2) > moved(32, 3) == 0


def test_pictures_are_aligned_along_motion() -> None:
    frames = moving(2, 128, 128, speed=4)
    inside = slice(16, -16)
    for plane, moved in zip(frames[0].planes, align(frames[0], frames[1]), strict=True):
        assert np.array_equal(moved[inside, inside], plane[inside, inside])


def test_pictures_of_ten_bits_are_filtered_as_those_of_eight() -> None:
    grainy = moving(5, WIDTH, HEIGHT, grain=3)
    shallow, deep = (smoothed(source([f.at_depth(bits) for f in grainy], 2), STEP, 0) for bits in (8, 10))
    assert deep.bit_depth == 10
    for plane, own, before in zip(deep.planes, shallow.planes, grainy[2].planes, strict=True):
        assert np.abs(plane / 4 - own).mean() < 0.3 < np.abs(own.astype(int) - before).mean()


def test_between_the_highest_samples_is_none_higher() -> None:
    assert samples(torch.tensor([254.25, 255.75]), 8).tolist() == [254, 255]
    assert samples(torch.tensor([1021.0, 1023.0]), 10).tolist() == [1021, 1023]


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (17, 65)])
def test_any_size_is_filtered(size: tuple[int, int]) -> None:
    frames = noise(3, *size)
    assert smoothed(source(frames, 1), STEP, 0).y.shape == frames[1].y.shape


def test_the_picture_is_pinned_on_any_number_of_threads() -> None:
    grainy = source(moving(5, WIDTH, HEIGHT, grain=3), 2)
    threads, found = torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        found.append(zlib.crc32(smoothed(grainy, STEP, 0).to_bytes()))
    torch.set_num_threads(threads)
    assert found == [PINNED, PINNED]


def test_a_scene_has_no_neighbours_beyond_its_cuts() -> None:
    frames = flat(range(10, 19), 16, 16)
    marked = [(frame, place in (3, 5)) for place, frame in enumerate(frames)]
    beside = [
        [frames.index(near.frame) for near in each.beside] for each, _ in sources(marked, 2, filtered=True)
    ]
    assert beside == [[1, 2], [0, 2], [1, 0], [4], [3], [6, 7], [5, 7, 8], [6, 5, 8], [7, 6]]
    for each, _ in sources(marked, 2, filtered=True):
        place = frames.index(each.frame)
        assert all(far == abs(frames.index(near) - place) for near, far in each.beside)


def test_groups_know_neighbours_beyond_their_ends() -> None:
    frames = moving(9, WIDTH, HEIGHT)
    _, first, second = groups(frames, 4, 4, scene_cut=False, temporal_filter=True)
    assert first.frames[-1] == second.past
    assert [near.distance for near in first.frames[-1].beside] == [1, 2] * 2
    assert all(each.filtered for each in first.frames)
    assert not any(each.filtered for part in groups(frames, 4, 4, scene_cut=False) for each in part.frames)


def test_a_part_takes_the_neighbours_that_are_needed_and_no_others(tiny_networks: Networks) -> None:
    frames = moving(13, 40, 24)
    _, _, middle, _ = groups(frames, 4, 4, scene_cut=False, temporal_filter=True)
    coder = GroupCoder(tiny_networks, FAST)
    (part,) = coder.split(coder.close(middle, 8))
    assert isinstance(part, Part)
    assert [source.frame for source in part.sources] == [frames[poc] for poc in (6, 5, 7)]
    beside = [[id(near.frame) for near in source.beside] for source in part.sources]
    assert beside == [[id(frames[poc]) for poc in (5, 4, 7, 8)], [], []]


def test_quality_is_told_by_the_source_as_it_was(tiny_networks: Networks) -> None:
    frames = moving(3, 40, 24, grain=3)
    for coded in code_groups(split(frames, FILTERED), 8, tiny_networks, FAST, pictures=True):
        assert coded.picture
        assert coded.quality == Quality.of(frames[coded.packet.header.poc].planes, coded.picture.planes)


def test_an_encode_that_was_ended_goes_on_with_the_same_bytes(tiny_networks: Networks) -> None:
    frames = moving(7, 40, 24, grain=3)
    code = partial(code_groups, qp=8, networks=tiny_networks, preset=FAST)
    whole = [coded.packet for coded in code(split(frames, FILTERED))]
    kept = iter(whole[:6])
    going = [each.packet for each in go_on(split(frames, FILTERED), kept, 8, tiny_networks, FAST, code)]
    assert going == whole
    other = split(frames, replace(FILTERED, temporal_filter=False))
    with pytest.raises(CodecError, match="other settings"):
        list(go_on(other, iter(whole[:6]), 8, tiny_networks, FAST, code))


def test_an_anchor_is_coded_as_its_filtered_picture_would_be(tiny_networks: Networks) -> None:
    frames = moving(3, 40, 24, grain=3)
    once = FAST._replace(again=())
    packet = next(iter(code_groups(split(frames, FILTERED), 8, tiny_networks, once))).packet
    qp, codec, first = layer_qp(8, 0), FrameCodec(tiny_networks, 40, 24), source(frames, 0)
    luma, *_ = tiny_networks.level_steps(qp, qp, intra=False)
    step = luma / (1 << DEPTH - 8)
    seen = smoothed(first, step, 0)
    assert not same(seen, frames[0])
    _, share = importance(frames[0], aligned(frames[0], telling(first.beside)), step, codec.latent_size)
    task = Task(intra_anchor(0, 2), frames[0], seen, packet.header.qp, packet.header.chroma_offset, share)
    coded = code_frame(codec, DecodedPictureBuffer(), task, FAST.effort).coded
    assert coded.packet == packet
