"""The rate meter counts what the range coder writes, and chooses what it chooses."""

from collections import Counter

import numpy as np
import pytest
import torch
from latents import CODER, FREQUENCIES, Latent, latent, read, written

from bcodec.coding import PRIOR_STEPS, SCALE_RATIO, SMALLEST_SCALE, Part
from bcodec.encoder.rdoq import ThriftyWriter
from bcodec.entropy.coder import RangeWriter
from bcodec.entropy.distributions import LOGISTIC
from bcodec.entropy.meter import RateMeter, SymbolCosts
from bcodec.entropy.tables import Tables, fit_tables
from bcodec.networks.prior import step_mask

COSTS = SymbolCosts(FREQUENCIES)


def content(
    seed: int, *, channels: int = 12, side: int = 6, lowest: int = 0, outliers: float = 0.02
) -> Latent:
    """A latent of which, if the seed is odd, a step of the spatial prior is coded."""
    y, mean, scale, step, mask = latent(seed, channels=channels, side=side, lowest=lowest, outliers=outliers)
    return y, mean, scale, step, None if mask is None else step_mask(seed % PRIOR_STEPS, y)


pytestmark = pytest.mark.usefixtures("all_signs_written")  # of those that magnitudes tell it knows nothing


@pytest.mark.parametrize("heavy", [0, 60])
@pytest.mark.parametrize("masked", [False, True])
def test_rate_meter_is_within_1_percent_of_the_bits_written(masked: bool, heavy: int) -> None:
    """Where a step is no more than 1.5 deviations: below, uniform noise costs more than rounding does."""
    torch.manual_seed(0)
    side = 120 if masked else 60
    y, mean, scale, step, mask = content(int(masked), channels=60, side=side, lowest=15, outliers=0)
    scale = scale.round()
    meter = RateMeter(COSTS)
    meter.code(Part.CONTENT, y, mean, scale, step, mask, heavy=heavy)
    assert (y.numel() if mask is None else int(mask.sum())) > 200_000
    writer = RangeWriter(CODER)
    writer.code(Part.CONTENT, y, mean, scale, step, mask, heavy=heavy)
    assert float(meter.bits) == pytest.approx(8 * len(writer.payload), rel=0.01)


ZEROED = 0.3


def fitted(seed: int) -> list[np.ndarray]:
    """Tables fitted to symbols of which more are zero than the families say."""
    generator = np.random.default_rng(seed)
    counts = []
    for table in FREQUENCIES:
        symbols = generator.choice(len(table), 20_000, p=table / table.sum()) - (len(table) // 2 - 1)
        counts.append(Counter((symbols * (generator.random(len(symbols)) > ZEROED)).tolist()))
    return fit_tables(FREQUENCIES, counts)


def test_with_fitted_tables_it_is_within_1_percent_where_the_families_are_not() -> None:
    tables = fitted(0)
    y, mean, scale, step, _ = latent(0, channels=60, side=60, outliers=0)
    scale = torch.round(10 + scale / 4)
    sigma = SMALLEST_SCALE * SCALE_RATIO**scale
    uniform = torch.rand(y.shape, generator=torch.Generator().manual_seed(0)).clamp(1e-6, 1 - 1e-6)
    ratio = torch.log(uniform / (1 - uniform)) * LOGISTIC * sigma
    zeroed = torch.rand(y.shape, generator=torch.Generator().manual_seed(1)) < ZEROED
    y = mean + ratio.masked_fill(zeroed, 0.0) * step
    writer = RangeWriter(Tables(tables))
    writer.code(Part.CONTENT, y, mean, scale, step)
    written_bits = 8 * len(writer.payload)
    measured = []
    for costs in (COSTS, SymbolCosts(tables)):
        meter = RateMeter(costs)
        meter.code(Part.CONTENT, y, mean, scale, step)
        measured.append(float(meter.bits))
    assert measured[0] > 1.02 * written_bits
    assert measured[1] == pytest.approx(written_bits, rel=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_symbols_that_do_not_pay_are_the_same_that_the_writer_leaves_out(seed: int) -> None:
    tables = fitted(seed)
    costs = SymbolCosts(tables)
    y, mean, scale, step, mask = content(seed, lowest=1)
    worth = torch.rand(1, y.shape[1], 1, 1) * 20 / step.square()
    values = [
        coder.code(Part.CONTENT, y, mean, scale, step, mask)
        for coder in (ThriftyWriter(Tables(tables), worth=worth), RateMeter(costs, worth), RateMeter(costs))
    ]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[1], values[2])


def test_what_is_not_coded_costs_nothing_but_asks_for_a_larger_scale() -> None:
    y = torch.full((1, 2, 3, 3), 0.5)
    mean, step, scale = torch.zeros_like(y), torch.full((1, 2, 1, 1), 0.25), torch.full_like(y, 0.25)
    scale.requires_grad_()
    meter = RateMeter(COSTS)
    value = meter.code(Part.CONTENT, y, mean, scale, step)
    assert not bool(value.any())
    assert float(meter.bits.detach()) == 0
    (gradient,) = torch.autograd.grad(meter.bits.sum(), scale)
    assert bool((gradient < 0).all())


def test_rate_meter_counts_samples_and_calls_apart() -> None:
    meter = RateMeter(COSTS)
    y, mean, scale, step, _ = latent(0)
    for part, batch in ((Part.MOTION, y), (Part.CONTENT, y * 0)):
        meter.code(part, torch.cat([batch, mean]), *(x.repeat(2, 1, 1, 1) for x in (mean, scale, step)))
    (_, motion), (_, content) = meter.calls
    assert [part for part, _ in meter.calls] == [Part.MOTION, Part.CONTENT]
    assert meter.bits.shape == (2,)
    assert meter.bits[0] > meter.bits[1]
    assert torch.equal(meter.bits, motion + content)
    assert torch.equal(meter.motion_bits, motion)


@pytest.mark.parametrize("seed", range(8))
def test_meter_writer_and_reader_return_the_same_values(seed: int) -> None:
    y, mean, scale, step, mask = content(seed, outliers=0)
    payload, (value,) = written([(y, mean, scale, step, mask)])
    with torch.no_grad():
        metered = RateMeter(COSTS).code(Part.CONTENT, y, mean, scale, step, mask)
    assert torch.equal(metered, value)
    assert torch.equal(read(payload, [(y, mean, scale, step, mask)])[0], value)


def test_a_meter_needs_the_latent() -> None:
    _, mean, scale, step, _ = latent(0)
    with pytest.raises(TypeError, match="needs the latent"):
        RateMeter(COSTS).code(Part.CONTENT, None, mean, scale, step)


def test_gradient_for_the_latent_is_the_mean_over_uniform_noise() -> None:
    y, mean, scale, step, _ = latent(0, lowest=10, outliers=0)
    y.requires_grad_()
    meter = RateMeter(COSTS)
    meter.code(Part.CONTENT, y, mean, scale, step)
    (slope,) = torch.autograd.grad(meter.bits.sum(), y)
    noise = (torch.arange(2000) + 0.5) / 2000 - 0.5
    noisy = torch.zeros_like(y)
    for offset in noise:
        moved = (y.detach() + offset * step).requires_grad_()
        bits = COSTS((moved - mean) / step, scale, 0)
        noisy += torch.autograd.grad(bits.sum(), moved)[0] / len(noise)
    assert torch.allclose(slope, noisy, atol=2e-3 * float(slope.abs().max()))


def test_gradient_of_the_rate_flows_to_latent_mean_scale_and_step() -> None:
    y, mean, scale, step, _ = latent(0, lowest=10, outliers=0)
    leaves = [x.clone().requires_grad_() for x in (y, mean, scale, step)]
    meter = RateMeter(COSTS)
    value = meter.code(Part.CONTENT, *leaves)
    (meter.bits.sum() + value.square().sum()).backward()  # type: ignore[no-untyped-call]
    for leaf in leaves:
        assert leaf.grad is not None
        assert bool(leaf.grad.isfinite().all())
        assert bool(leaf.grad.any())


@pytest.mark.parametrize("heavy", [0, 8])
def test_steps_of_the_content_measure_together_what_one_call_does(heavy: int) -> None:
    y, mean, scale, step, _ = latent(0, lowest=1, outliers=0)
    worth = torch.rand(1, y.shape[1], 1, 1) * 20 / step.square()
    y, mean, scale, step = leaves = [x.repeat(2, 1, 1, 1).requires_grad_() for x in (y, mean, scale, step)]
    whole, steps = RateMeter(COSTS, worth), RateMeter(COSTS, worth)
    at_once = whole.code(Part.CONTENT, y, mean, scale, step, heavy=heavy)
    masks = [step_mask(number, y) for number in range(PRIOR_STEPS)]
    quarters = [steps.code(Part.CONTENT, y, mean, scale, step, mask, heavy=heavy) for mask in masks]
    for quarter, mask in zip(quarters, masks, strict=True):
        assert torch.equal(quarter, at_once * mask)
    assert torch.allclose(steps.bits, whole.bits, rtol=1e-6)
    in_steps = torch.autograd.grad(steps.bits.sum() + torch.stack(quarters).sum(0).square().sum(), leaves)
    gradients = torch.autograd.grad(whole.bits.sum() + at_once.square().sum(), leaves)
    for one, other in zip(in_steps, gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6 * float(other.abs().max()))


def test_a_mask_of_the_content_that_is_not_a_step_is_refused() -> None:
    y, mean, scale, step, mask = latent(1)
    with pytest.raises(ValueError, match="one of each 4 channels"):
        RateMeter(COSTS).code(Part.CONTENT, y, mean, scale, step, mask)


def test_of_motion_what_is_masked_costs_nothing() -> None:
    y, mean, scale, step, mask = latent(1)
    assert mask is not None
    meter = RateMeter(COSTS)
    whole = meter.code(Part.MOTION, y, mean, scale, step, heavy=5)
    parts = [meter.code(Part.MOTION, y, mean, scale, step, own, heavy=5) for own in (mask, ~mask)]
    assert torch.equal(parts[0], whole * mask)
    (_, bits), *others = meter.calls
    assert torch.allclose(torch.stack([part for _, part in others]).sum(0), bits, rtol=1e-6)
