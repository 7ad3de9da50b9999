"""Steps are taken plainly where there is no CUDA, and constants of a captured step are made once."""

from contextlib import nullcontext

import pytest
import torch
from conftest import TINY
from torch import Tensor, nn

from bcodec.fixedpoint import Conv2d
from bcodec.networks import Networks
from bcodec.train.batch import Batch, Stats
from bcodec.train.losses import cascade_loss, symbol_costs
from bcodec.train.recorded import Record
from bcodec.train.rounding import rounded_weights
from bcodec.train.step import Constants, Step, use_tensor_cores


def batch() -> Batch:
    return Batch(torch.zeros(2, 1, 6, 8, 8, dtype=torch.uint8), torch.tensor([1, 2]))


@pytest.mark.skipif(torch.cuda.is_available(), reason="here capturing may not fail")
def test_where_a_step_cannot_be_captured_it_is_taken_plainly_and_one_line_says_why() -> None:
    weight = nn.Parameter(torch.ones(3))

    def compute(batch: Batch) -> Stats:
        loss = (weight * batch.qp.sum()).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return {"loss": loss.detach()}

    told: list[str] = []
    step = Step(compute, [weight], "cuda", "graph", told.append)
    for _ in range(2):
        assert step(batch())["loss"] == 9
        assert weight.grad is not None
        assert weight.grad.tolist() == [3, 3, 3]
    assert len(told) == 1
    assert "plainly" in told[0]
    assert "\n" not in told[0]


@pytest.mark.parametrize(("device", "kind", "frames"), [("cpu", "graph", 3), ("cpu", "auto", 1)])
def test_what_is_not_to_be_captured_is_not(device: str, kind: str, frames: int) -> None:
    told: list[str] = []
    frames_of = torch.zeros(2, frames, 6, 8, 8, dtype=torch.uint8)
    Step(lambda _: {}, [], device, kind, told.append)(batch()._replace(frames=frames_of))
    assert told == (
        ["steps are taken plainly, not as CUDA graphs: its motion was not recorded"] * (frames > 1)
    )


def test_constants_are_made_once_and_then_given_in_their_order() -> None:
    def work() -> list[Tensor]:
        moved = torch.ones(2).to("meta")
        return [torch.tensor([1.0, 2.0], device="meta"), moved, torch.tensor(3), moved.to(torch.float64)]

    constants = Constants("meta")
    with constants:
        first = work()
    constants.repeat()
    with constants:
        again = work()
    assert [a is b for a, b in zip(first, again, strict=True)] == [True, True, False, False]
    assert [len(constants.made), len(constants.ready)] == [2, 0]


def test_only_layers_of_few_bits_are_convolved_in_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of eleven bits: block transforms have more, of inputs and of weights."""
    net = Networks()
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32)
    use_tensor_cores(net)
    layers = {name for name, module in net.named_modules() if isinstance(module, Conv2d)}
    exact = {name for name in layers if net.get_submodule(name)._forward_hooks}
    assert exact == {name for name in layers if ".transform" in name}
    seen = []
    layer = net.get_submodule("intra.analysis.transform")
    monkeypatch.setattr(Conv2d, "forward", lambda self, x: seen.append(torch.backends.cudnn.allow_tf32))
    layer(torch.zeros(1))
    assert [*seen, torch.backends.cudnn.allow_tf32] == [False, True]


def test_rounding_once_gives_the_gradients_of_rounding_each_time() -> None:
    torch.manual_seed(0)
    layer = Conv2d(4, 4, activation=True)
    x = torch.round(torch.randn(2, 4, 8, 8) * 64) / 64
    layer(layer(x)).square().sum().backward()
    assert layer.weight.grad is not None
    expected, layer.weight.grad = layer.weight.grad, None
    with rounded_weights(layer):
        assert layer.frozen is not None
        layer(layer(x)).square().sum().backward()
    assert layer.frozen is None
    assert torch.equal(layer.weight.grad, expected)


def nowhere(*shape: int, dtype: torch.dtype) -> Tensor:
    """A tensor on a device that only knows shapes: what asks for a value fails, as it does in a capture."""
    return torch.empty(shape, dtype=dtype, device="meta")


def test_a_step_asks_nothing_of_the_host_but_constants_in_one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it knows no such device
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)
    net = Networks(TINY).to("meta")
    costs = symbol_costs(net).to("meta")
    motion = Record(
        nowhere(1, 3, 10, 8, 8, dtype=torch.int16),
        nowhere(1, 3, 4, 4, 4, dtype=torch.int8),
        nowhere(1, 3, 5, dtype=torch.int16),
    )
    pictures, qp = nowhere(1, 3, 6, 32, 32, dtype=torch.uint8), nowhere(1, dtype=torch.int64)
    constants = Constants("meta")
    for again in (False, True):
        with constants, rounded_weights(net):
            value, _ = cascade_loss(net, costs, Batch(pictures, qp, motion=motion))
            if again:
                value.backward()  # type: ignore[no-untyped-call]
        assert len(constants.ready) == 0
        constants.repeat()
    assert constants.made
