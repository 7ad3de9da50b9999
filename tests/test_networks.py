"""Weights are loaded whole or not at all; fresh networks already code; matching finds what is there."""

import hashlib
import io
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bcodec.coding import CollocatedMotion, Reference
from bcodec.encoder.analyst import Analyst
from bcodec.encoder.blocksizes import costs, in_all_sizes
from bcodec.encoder.motion.choose import choose_flags, smooth_choice, symbols_that_pay
from bcodec.encoder.motion.directions import useful_directions, weigh
from bcodec.encoder.motion.search import search
from bcodec.entropy.coder import RangeReader, RangeWriter
from bcodec.entropy.distributions import HEAVY
from bcodec.entropy.meter import RateMeter, SymbolCosts
from bcodec.entropy.tables import Tables, make_tables
from bcodec.errors import WeightsError
from bcodec.fixedpoint import Conv2d, upsample
from bcodec.frame import LEVELS, finish
from bcodec.networks import Channels, Networks, load_networks, save_networks
from bcodec.networks.__main__ import table
from bcodec.networks.bframe import expected_motion
from bcodec.networks.blockdct import COEFFICIENTS, SIZES, block_transform, channel_planes, turn
from bcodec.networks.budget import Usage, measure
from bcodec.networks.context import flattened, overlapped_blocks
from bcodec.networks.intra import IntraCodec
from bcodec.networks.layers import ResBlock
from bcodec.networks.motion.blocks import MOTION_BLOCK, mismatch, sample_blocks
from bcodec.networks.motion.segments import SEGMENTS, interpolate_segments, segment_mask
from bcodec.networks.motion.shift import code_shifts
from bcodec.networks.motion.vectors import MEANS, QUARTERS, VECTORS, latent_to_vectors, vectors_to_latent
from bcodec.networks.prior import PRIOR_STEPS, BlockSizes, SpatialPrior, step_mask
from bcodec.networks.reference import interpolate, luma
from bcodec.networks.weights import read_weights, to_arrays

TABLES = make_tables()


def meter() -> RateMeter:
    return RateMeter(SymbolCosts(TABLES))


# ---------------------------------------------------------------- weights


def sealed(path: Path, data: bytes) -> Path:
    """Write a file with its own, correct checksum beside it."""
    path.write_bytes(data)
    path.with_suffix(".sha256").write_text(f"{hashlib.sha256(data).hexdigest()}  {path.name}\n")
    return path


def archive(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, **arrays)
    return buffer.getvalue()


def test_loaded_weights_give_the_outputs_of_those_exported(tmp_path: Path, tiny_networks: Networks) -> None:
    """Seen in the convolutions; only quantization steps are rounded by the export."""
    networks = Networks(tiny_networks.channels)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        save_networks(tmp_path / "net.npz", networks, TABLES)
        loaded = load_networks(tmp_path / "net.npz")
        picture = finish(torch.randn(1, 6, 64, 64))
        y_hat = torch.round(torch.randn(1, networks.channels.y, 8, 8) * 64) / 64
        assert torch.equal(loaded.intra.analysis(picture), networks.intra.analysis(picture))
        size, qp, step = torch.zeros(1, 1, 8, 8), torch.tensor([30]), torch.full((1, 2, 1, 1), 0.25)
        pictures = [net.intra.synthesis(y_hat, size, qp, step) for net in (loaded, networks)]
        assert torch.equal(*pictures)
        references = [net.reference(picture, y_hat, torch.tensor([30])) for net in (loaded, networks)]
        for ours, theirs in zip(references[0].features, references[1].features, strict=True):
            assert torch.equal(ours, theirs)
        qp = torch.arange(64)
        step, rounded = networks.intra.step(qp)[0], loaded.intra.step(qp)[0]
    assert (step - rounded).abs().max() <= 2**-15


@pytest.mark.parametrize("apart", [0.0, 1.5, 4.0, 4.25])
def test_blocks_mix_near_edges_beyond_which_motion_is_nearly_the_same(apart: float) -> None:
    torch.manual_seed(0)
    plane = interpolate((torch.randint(0, 256, (1, 1, 48, 48)) - 128) / 64)
    left, right = torch.zeros(1, 2, 6, 6), torch.zeros(1, 2, 6, 6)
    right[:, 0] = apart
    field = torch.where(torch.arange(6) < 3, left, right)
    mixed = overlapped_blocks(plane, field)
    own, beyond = sample_blocks(plane, left, MOTION_BLOCK), sample_blocks(plane, right, MOTION_BLOCK)
    share = torch.tensor([0, 0, 0, 0, 1, 2, 4, 8]) / 32 * (apart <= 4)
    assert torch.equal(mixed[:, :, :2], own[:, :, :2])
    assert torch.equal(mixed[:, :, 2], own[:, :, 2] + share * (beyond - own)[:, :, 2])
    assert torch.equal(mixed[:, :, 3], beyond[:, :, 3] + share.flip(0) * (own - beyond)[:, :, 3])
    assert torch.equal(mixed[:, :, 4:], beyond[:, :, 4:])


def test_chroma_is_quantized_by_its_own_qp(tiny_networks: Networks) -> None:
    planes = torch.tensor([plane for plane, _ in channel_planes()[: tiny_networks.channels.y]])
    low, high = torch.tensor([10]), torch.tensor([22])
    for step in (tiny_networks.intra.step, tiny_networks.bframe.step):
        for mixed, bright, coloured in zip(step(low, high), step(low), step(high), strict=True):
            assert torch.equal(mixed[:, planes == 0], bright[:, planes == 0])
            assert torch.equal(mixed[:, planes > 0], coloured[:, planes > 0])
            assert not torch.equal(bright, coloured)
        assert all(torch.equal(a, b) for a, b in zip(step(low), step(low, low), strict=True))


def test_exporting_twice_and_exporting_what_was_loaded_give_identical_bytes(
    tmp_path: Path, tiny_weights: Path, tiny_networks: Networks
) -> None:
    networks = Networks(tiny_networks.channels)
    for name in ("first", "second"):
        save_networks(tmp_path / f"{name}.npz", networks, TABLES)
    assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "second.npz").read_bytes()
    save_networks(tmp_path / "again.npz", tiny_networks, tiny_networks.tables)
    assert (tmp_path / "again.npz").read_bytes() == tiny_weights.read_bytes()


def test_model_id_begins_the_sha256_of_the_file(tiny_weights: Path, tiny_networks: Networks) -> None:
    assert tiny_networks.model_id == hashlib.sha256(tiny_weights.read_bytes()).digest()[:8]


def test_weights_that_were_loaded_are_not_trained(tiny_networks: Networks) -> None:
    assert not any(p.requires_grad for p in tiny_networks.parameters())
    assert all(m.frozen is not None for m in tiny_networks.modules() if isinstance(m, Conv2d))


def test_a_flipped_byte_is_refused(tmp_path: Path, tiny_weights: Path) -> None:
    data = tiny_weights.read_bytes()
    path = sealed(tmp_path / "net.npz", data)
    for position in (0, 40, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(WeightsError, match="damaged"):
            load_networks(path)


def test_missing_weights_and_missing_or_empty_checksums_are_refused(
    tmp_path: Path, tiny_weights: Path
) -> None:
    path = tmp_path / "net.npz"
    with pytest.raises(WeightsError, match="cannot read"):
        load_networks(path)
    path.write_bytes(tiny_weights.read_bytes())
    with pytest.raises(WeightsError, match="cannot read"):
        load_networks(path)
    path.with_suffix(".sha256").write_text("")
    with pytest.raises(WeightsError, match="cannot read"):
        load_networks(path)


def test_files_of_another_kind_are_refused(tmp_path: Path, tiny_weights: Path) -> None:
    arrays, *_ = read_weights(tiny_weights)
    lost = {k: v for k, v in arrays.items() if k != "reference.latent.bias"}
    reshaped = arrays | {"reference.latent.bias": np.zeros(3, np.int32)}
    channels = arrays | {"channels": np.zeros(0, np.int32)}
    files = [b"", b"PK", b"not an archive", archive(foreign=np.arange(3))]
    files += [archive(**x) for x in (lost, reshaped, channels)]
    files += [tiny_weights.read_bytes()[:2000]]
    for data in files:
        with pytest.raises(WeightsError):
            load_networks(sealed(tmp_path / "net.npz", data))


@pytest.mark.parametrize("place", [0.001, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_a_damaged_archive_with_a_sound_checksum_is_refused(
    tmp_path: Path, tiny_weights: Path, place: float
) -> None:
    data = bytearray(tiny_weights.read_bytes())
    first = int(place * len(data))
    data[first : first + 40] = bytes(255 - byte for byte in data[first : first + 40])
    with pytest.raises(WeightsError):
        load_networks(sealed(tmp_path / "net.npz", bytes(data)))


def test_weights_that_are_not_exact_are_refused(tmp_path: Path, tiny_weights: Path) -> None:
    arrays, *_ = read_weights(tiny_weights)
    name = "reference.latent.bias"
    broken = arrays | {name: np.full_like(arrays[name], 2**24)}
    with pytest.raises(WeightsError, match="not exact"):
        load_networks(sealed(tmp_path / "net.npz", archive(**broken)))


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (self.target,))  # type: ignore[return-value]


def test_pickles_are_refused_and_not_run(tmp_path: Path, tiny_weights: Path) -> None:
    arrays, *_ = read_weights(tiny_weights)
    target = tmp_path / "executed"
    bomb = np.array([Bomb(target)], dtype=object)
    for name in ("channels", "reference.latent.bias", "unknown"):
        data = archive(**(arrays | {name: bomb}))
        with pytest.raises(WeightsError):
            load_networks(sealed(tmp_path / "net.npz", data))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("channels.npy", bomb.dumps())
    for data in (bomb.dumps(), buffer.getvalue()):
        with pytest.raises(WeightsError):
            load_networks(sealed(tmp_path / "net.npz", data))
    assert not target.exists()


def test_every_number_of_the_networks_is_exported(tiny_networks: Networks) -> None:
    arrays = to_arrays(tiny_networks)
    parameters = {name.rpartition(".")[0] for name, _ in tiny_networks.named_parameters()}
    assert {name.rpartition(".")[0] for name in arrays} == parameters
    assert all(np.issubdtype(a.dtype, np.integer) for a in arrays.values())


# ---------------------------------------------------------------- starts


def smooth(side: int, seed: int = 0) -> Tensor:
    """Soft random shapes over most of the range, [1, 6, side / 2, side / 2] on the pixel grid."""
    torch.manual_seed(seed)
    coarse = torch.rand(1, 3, side // 16, side // 16)
    luma = nn.functional.interpolate(coarse[:, :1], size=(side, side), mode="bicubic")
    chroma = nn.functional.interpolate(coarse[:, 1:], size=(side // 2, side // 2), mode="bicubic")
    return finish(torch.cat([nn.functional.pixel_unshuffle(luma, 2), chroma], 1) * 3 - 1.5)


def test_steps_code_each_coefficient_once_and_all_channels_everywhere() -> None:
    masks = [step_mask(number, torch.zeros(1, 8, 6, 4)).float() for number in range(PRIOR_STEPS)]
    assert torch.equal(torch.stack(masks).sum(0), torch.ones(1, 8, 6, 4))
    for mask in masks:
        assert torch.equal(mask.sum(1), torch.full((1, 6, 4), 2.0))


@pytest.mark.parametrize("size", SIZES)
def test_blocks_are_turned_by_a_rotation_that_keeps_their_mean(size: tuple[int, int]) -> None:
    rotation = turn(COEFFICIENTS, size).double()
    assert torch.allclose(rotation @ rotation.t(), torch.eye(COEFFICIENTS).double(), atol=1e-6)
    assert torch.allclose(rotation[0], torch.eye(COEFFICIENTS)[0].double())


def test_a_latent_turned_to_any_size_and_back_is_the_same_to_half_an_8_bit_level() -> None:
    sizes = BlockSizes(8, COEFFICIENTS).requires_grad_(False)
    y = torch.round(torch.randn(1, COEFFICIENTS, 4, 4, generator=torch.Generator().manual_seed(0)) * 32) / 64
    for number, turned in enumerate(in_all_sizes(sizes, y)):
        back = sizes.back(turned, torch.full((1, 1, 4, 4), number))
        assert (back - y).square().mean().sqrt() < 0.5 / 64


def test_a_spot_is_coded_with_small_blocks_and_a_wave_with_a_large_one() -> None:
    prior = SpatialPrior(8, 8, COEFFICIENTS).eval().requires_grad_(False)
    for parameters in prior.steps:
        # As trained networks do, expect little of high frequencies.
        bias = parameters.get_parameter("scale.bias")
        bias.copy_(torch.linspace(0, -6, COEFFICIENTS))
    picture = torch.zeros(1, 6, 8, 16)
    picture[:, :4, 5, 3] = 4.0  # two samples wide, in the block on the left
    wave = torch.cos(math.pi / 16 * (torch.arange(16) + 0.5) * 5)
    picture[:, :4, :, 8:] = F.pixel_unshuffle(2 * wave.expand(1, 1, 16, 16), 2)
    transform = block_transform(COEFFICIENTS)[:, :, None, None]
    y = torch.round(F.conv2d(F.pixel_unshuffle(picture, 8), transform) * 64) / 64
    step = torch.full((1, COEFFICIENTS, 1, 1), 0.3), torch.full((1, COEFFICIENTS, 1, 1), 10.0)
    bits = costs(prior, in_all_sizes(prior.sizes, y), torch.zeros(1, 8, 1, 2), step)
    assert torch.cat(bits, 1).argmin(1).flatten().tolist() == [2, 0]


def test_block_transform_is_orthonormal() -> None:
    for rows in (COEFFICIENTS, 320, 24):
        basis = block_transform(rows).double()
        assert basis.shape == (rows, COEFFICIENTS)
        assert torch.allclose(basis @ basis.T, torch.eye(rows, dtype=torch.float64), atol=1e-6)


def test_block_transform_begins_with_the_means() -> None:
    first = block_transform(3)
    luma, u, v = (torch.full((count,), count**-0.5) for count in (256, 64, 64))
    expected = torch.stack(
        [
            torch.cat([luma, u * 0, v * 0]),
            torch.cat([luma * 0, u, v * 0]),
            torch.cat([luma * 0, u * 0, v]),
        ]
    )
    assert torch.allclose(first, expected)


def test_fresh_intra_codec_codes_like_a_transform_codec() -> None:
    torch.manual_seed(0)
    intra = IntraCodec(Channels(level1=8, level2=8, level3=8, z=8))
    x, decibels, bits = smooth(128), [], []
    with torch.no_grad():
        for qp in (0, 32, 63):
            rate = meter()
            x_hat, _ = intra(rate, torch.tensor([qp]), (8, 8), Analyst(intra, x))
            error = ((finish(x_hat) - x) * 64).square().mean()
            decibels.append(10 * math.log10(255**2 / float(error)))
            bits.append(float(rate.bits))
    assert decibels[2] > 40
    assert decibels == sorted(decibels)
    assert bits == sorted(bits)


@pytest.mark.parametrize("edge", [0, 7, 12])  # luma columns of a block that are dark
def test_a_block_as_far_from_its_prediction_as_can_be_survives_the_transform(edge: int) -> None:
    luma = torch.full((1, 1, 64, 64), 255 / LEVELS)
    for column in range(edge):
        luma[..., column::16] = 0
    x = torch.cat([F.pixel_unshuffle(luma, 2), torch.zeros(1, 2, 32, 32)], 1)
    codec = IntraCodec(Channels())
    with torch.no_grad():
        again = F.pixel_shuffle(codec.synthesis.transform(codec.analysis.linear(x)), 8)
    assert (again - x).abs().max() < 4 / LEVELS


def test_fresh_blocks_are_the_identity() -> None:
    x = torch.round(torch.randn(2, 16, 9, 9) * 64) / 64
    with torch.no_grad():
        assert torch.equal(ResBlock(16)(x), x)
        assert torch.equal(Conv2d(16, 16, zero=True)(x, residual=x), x)
        assert not bool(Conv2d(16, 16, zero=True)(x).any())


def test_b_frame_codec_starts_from_the_intra_codec(tiny_networks: Networks) -> None:
    networks = Networks(tiny_networks.channels)
    before = {k: v.clone() for k, v in networks.bframe.state_dict().items()}
    networks.bframe.start_from(networks.intra)
    ours, theirs = networks.bframe.state_dict(), networks.intra.state_dict()
    deeper = {name for name in theirs if name.startswith(("synthesis.level1.2", "synthesis.level2.2"))}
    assert theirs.keys() - deeper < ours.keys()
    wider = {"synthesis.picture.weight"}  # it sees the references, too
    assert {name for name in theirs.keys() - deeper if theirs[name].shape != ours[name].shape} == wider
    for name, value in ours.items():
        assert torch.equal(value, before[name] if name in wider else theirs.get(name, before[name]))


# ---------------------------------------------------------------- matching


def texture(x: Tensor, y: Tensor, seed: int = 0) -> Tensor:
    """A random band-limited luma plane in 8-bit units at positions x [W], y [H] in samples: [1, 1, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    plane = torch.zeros(len(y), len(x), dtype=torch.float64)
    for _ in range(200):
        angle, phase, pitch = (torch.rand(3, generator=generator, dtype=torch.float64) * 2 * math.pi).tolist()
        frequency = 0.1 + pitch / 20
        u, v = frequency * math.cos(angle), frequency * math.sin(angle)
        plane += torch.cos(u * x[None, :].double() + v * y[:, None].double() + phase)
    return torch.round(5 * plane).clamp(-128, 127).float()[None, None]


def moved(dx: float, dy: float, width: int = 192, height: int = 128) -> Tensor:
    """The texture after a motion by (dx, dy) luma samples."""
    return texture(torch.arange(width) - dx, torch.arange(height) - dy)


def typical(field: Tensor) -> list[float]:
    """The median vector but for the borders, where what moves in from outside cannot be found."""
    return [float(x) for x in field[0, :, 4:-4, 4:-4].flatten(1).median(1).values]


def still(rows: int = 16, columns: int = 24) -> Tensor:
    return torch.zeros(1, 2, rows, columns)


def moving(dx: float, dy: float) -> Tensor:
    return still() + torch.tensor([dx, dy]).view(1, 2, 1, 1)


def test_references_agree_along_the_true_motion() -> None:
    past, future = moved(0, 0), moved(8, -4)
    along = mismatch(past, future, moving(-4, 2), moving(4, -2))
    assert along.shape == (1, 1, 16, 24)
    assert along[..., 2:-2, 2:-2].max() == 0
    assert mismatch(past, future, still(), still())[..., 2:-2, 2:-2].min() > 0


def reference(motion: CollocatedMotion | None = None) -> Reference:
    """A reference of which only the picture's size and the motion matter."""
    empty = torch.zeros(1)
    return Reference(
        torch.zeros(1, 6, 64, 96), empty, (empty, empty, empty), empty, torch.tensor([32]), motion
    )


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


def test_segments_cover_each_position_once() -> None:
    masks = [segment_mask(part, (12, 8), torch.device("cpu")).float() for part in range(SEGMENTS)]
    assert torch.equal(torch.stack(masks).sum(0), torch.ones(1, 1, 12, 8))
    assert [float(mask.mean()) for mask in masks] == [1 / 16, 1 / 16, 1 / 8, 1 / 4, 1 / 2]


@pytest.mark.parametrize("part", range(1, SEGMENTS))
def test_a_segment_is_expected_as_a_plane_through_those_before(part: int) -> None:
    down, across = torch.arange(12.0), torch.arange(16.0)
    plane = (down[:, None] * 2 - across)[None, None]
    before = sum(segment_mask(earlier, (12, 16), torch.device("cpu")).float() for earlier in range(part))
    expected = interpolate_segments(plane * before, part)
    mask = segment_mask(part, (12, 16), torch.device("cpu"))
    inside = (..., slice(2, -2), slice(2, -2))
    assert torch.equal(expected[inside][mask[inside]], plane[inside][mask[inside]])


def test_a_flag_follows_its_gain_where_it_is_large_and_its_neighbours_where_it_is_small() -> None:
    gain = torch.full((1, 1, 6, 6), 0.5)
    gain[..., 2, 2], gain[..., 4, 4] = -2.0, -50.0
    expected = torch.ones_like(gain)
    expected[..., 4, 4] = 0
    assert torch.equal(smooth_choice(gain, 1.0), expected)


def test_a_flag_that_gains_little_is_as_it_costs_least() -> None:
    gains = torch.tensor([0.0, 0.0, 3.0, -3.0, 30.0, -30.0]).view(1, 6, 1, 1)
    liked = (gains > 0).float()
    mean, scale = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0, 1.0]).view(1, 6, 1, 1), torch.full((1, 6, 1, 1), 4.0)
    assert choose_flags(gains, liked, mean, scale).flatten().tolist() == [0, 1, 0, 1, 1, 0]


def test_a_flat_block_is_predicted_by_its_mean() -> None:
    picture = torch.randint(-128, 128, (1, 6, 16, 24)).float() / 64
    where = torch.tensor([[False, True, False], [False, False, False]])[None, None]
    flat = flattened(picture, where)
    block, others = (0, slice(None), slice(0, 8), slice(8, 16)), torch.ones(16, 24, dtype=torch.bool)
    others[:8, 8:16] = False
    assert torch.equal(flat[..., others], picture[..., others])
    means = torch.cat([picture[block][:4].mean().expand(4), picture[block][4:].mean((1, 2))])
    assert torch.equal(flat[block], (torch.round(means * 64) / 64)[:, None, None].expand(6, 8, 8))


def test_motion_towards_a_reference_that_shows_something_else_is_left_as_expected() -> None:
    past, future = (shown(torch.randint(-128, 128, (1, 6, 32, 32)) / 64) for _ in range(2))
    still, wild = torch.zeros(1, 2, 8, 8), upsample(torch.randint(-40, 40, (1, 2, 4, 4)).float())
    weight = torch.full((1, 1, 1, 1), 20.0)
    fields = useful_directions(past, future, (still, wild), (still, still), past.picture, weight)
    assert not any(field.any() for field in fields)
    smooth = torch.full((1, 2, 8, 8), 8.0)
    between = weigh(past, future, (smooth, smooth), past.picture)
    source = (between.pictures[0] + between.pictures[1]) / 2
    pair = useful_directions(past, future, (smooth, smooth), (still, still), source, weight)
    assert all(torch.equal(field, smooth) for field in pair)


def shown(picture: Tensor) -> Reference:
    """A reference of which only the picture matters."""
    return reference(None)._replace(picture=picture, quarter_pel=interpolate(luma(picture)))


def test_vectors_are_coded_only_where_they_save_more_than_their_bits() -> None:
    symbols = torch.full((1, VECTORS, 4, 4), 3.0)
    deviations = torch.full_like(symbols, 1.2)

    def kept(worth: float, needed: int) -> Tensor:
        """When the first so many channels are worth bits by their squared error."""

        def loss(chosen: Tensor) -> Tensor:
            off: Tensor = chosen - symbols
            return worth * off[:, :needed].square().sum(1, keepdim=True)

        return symbols_that_pay(symbols, deviations, MEANS, loss, HEAVY).mean((0, 2, 3))

    means = torch.arange(VECTORS) < MEANS
    assert torch.equal(kept(100.0, VECTORS), torch.full((VECTORS,), 3.0))
    assert torch.equal(kept(100.0, MEANS), 3.0 * means)
    assert torch.equal(kept(0.001, VECTORS), torch.zeros(VECTORS))


def test_vectors_of_quarter_samples_survive_the_latent_exactly() -> None:
    vectors = torch.randint(-400, 400, (2, 2, 8, 12)) / 4
    assert torch.equal(latent_to_vectors(vectors_to_latent(vectors)), vectors)
    alike = vectors_to_latent(vectors[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert torch.equal(alike[:, :MEANS] / QUARTERS[0], torch.round(alike[:, :MEANS] / QUARTERS[0]))
    assert not alike[:, MEANS:].any()


def test_what_moves_like_its_neighbours_is_expected_exactly() -> None:
    field = torch.full((1, VECTORS, 8, 8), 5 / 32)
    field[..., 4:, :] = -9 / 32
    for part in range(2, SEGMENTS):
        mask = segment_mask(part, (8, 8), torch.device("cpu"))
        off = ((interpolate_segments(field, part) - field) * mask)[..., :3, :]
        assert not off.any()


def test_interpolation_keeps_whole_samples_and_straight_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    plane = finish(torch.randn(1, 1, 40, 16))
    quarters = interpolate(plane)
    assert quarters.dtype is torch.float16
    assert torch.equal(quarters[..., ::4, ::4], (plane * 64 + 128).half())
    assert torch.equal(quarters, torch.round(quarters.float() * 4).half() / 4)
    line = interpolate(torch.arange(-20.0, 20.0).view(1, 1, -1, 1).expand(1, 1, 40, 16) * 4 / 64)
    assert torch.equal(line[0, 0, 20:-24, 0].diff(), torch.ones(115, dtype=torch.float16))
    monkeypatch.setattr("bcodec.networks.reference.STRIP", 16)
    assert torch.equal(interpolate(plane), quarters)


def test_interpolation_hands_gradients_on() -> None:
    plane = finish(torch.randn(1, 1, 8, 8)).requires_grad_()
    interpolate(plane)[..., ::4, ::4].sum().backward()  # type: ignore[no-untyped-call]
    assert plane.grad is not None
    assert torch.equal(plane.grad, torch.full((1, 1, 8, 8), 64.0))


@pytest.mark.parametrize("vector", [(0.0, 0.0), (3.0, -5.0), (2.25, -1.75), (-6.5, 0.75), (14.75, 9.25)])
def test_search_finds_a_translation_by_quarters_of_a_sample(vector: tuple[float, float]) -> None:
    dx, dy = vector
    reference = moved(0, 0)
    current = moved(-dx, -dy)
    planes = current + 128, reference + 128, interpolate(reference / 64)
    predicted = torch.floor(torch.tensor(vector)).view(1, 2, 1, 1).expand(1, 2, 16, 24)
    field, shift = search(*planes, predicted, torch.tensor([0.01]))
    assert typical(field) == [dx, dy]
    assert not shift.any()


@pytest.mark.parametrize("details", [True, False])
def test_small_blocks_have_vectors_of_their_own_only_in_detail(details: bool) -> None:
    reference = moved(0, 0)
    rows = torch.arange(reference.shape[2]).view(-1, 1) // 8 % 2 == 0  # of each block of 16x16 the upper half
    current = torch.where(rows, moved(-6, 0), moved(6, 0))
    planes = current + 128, reference + 128, interpolate(reference / 64)
    field, _ = search(*planes, still(), torch.tensor([0.01]), details=details)
    upper, lower = field[0, :, 2:-2:2, 4:-4], field[0, :, 3:-2:2, 4:-4]
    assert torch.equal(upper, lower) != details
    if details:
        assert [half.flatten(1).median(1).values.tolist() for half in (upper, lower)] == [[6, 0], [-6, 0]]


@pytest.mark.parametrize("vector", [(150.0, -10.0), (-130.0, 24.0)])
def test_search_finds_a_pan_out_of_the_reach_of_blocks(vector: tuple[float, float]) -> None:
    dx, dy = vector
    reference, current = moved(0, 0, 512), moved(-dx, -dy, 512)
    planes = current + 128, reference + 128, interpolate(reference / 64)
    field, shift = search(*planes, still(columns=64), torch.tensor([0.01]))
    inside = field[0, :, 5:-5, 28:-28].flatten(1).median(1).values
    assert inside.tolist() == [dx, dy]
    assert (shift.flatten() - torch.tensor(vector)).abs().max() <= 2
    assert not torch.any(shift % 2)


def test_shifts_are_coded_exactly() -> None:
    shifts = torch.tensor([[0.0, -2.0, 448.0, -448.0]])[:, :, None, None]
    tables = Tables(make_tables())
    writer = RangeWriter(tables)
    assert torch.equal(code_shifts(writer, shifts, 1, shifts.device), shifts)
    reader = RangeReader(tables, writer.payload)
    assert torch.equal(code_shifts(reader, None, 1, shifts.device), shifts)


# ---------------------------------------------------------------- budget


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
