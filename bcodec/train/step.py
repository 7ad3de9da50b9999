"""Loss and gradients of a batch: operation by operation, or as a CUDA graph that starts them all at once.

A step is tens of thousands of small operations, and a GPU is through with most before the next has been asked
for. A graph is captured for each kind of batch and then replayed on other data. It needs motion that was
recorded, since the search looks at what it finds. Where capturing fails the step is taken plainly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bcodec.fixedpoint import Conv2d
from bcodec.train.batch import Batch, Stats

STEPS = ("auto", "graph", "plain")
SIGNIFICAND = 11  # bits of a number in TF32, the sign apart


class Constants(TorchFunctionMode):
    """Tensors that are copied from the host: made while a step is tried, the same again while it is captured.

    A capture cannot wait for the host. Two steps ask for them in the same order.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device
        self.made: list[Tensor] = []
        self.ready: list[Tensor] = []

    def repeat(self) -> None:
        """From now on, give what was made."""
        self.ready = self.made[::-1]

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.tensor:
            ours = torch.device(kwargs.get("device") or "cpu").type == self.device
        else:
            ours = func is Tensor.to and args[0].device.type == "cpu" and self._moves(*args[1:], **kwargs)
        if not ours:
            return func(*args, **kwargs)
        if self.ready:
            return self.ready.pop()
        self.made.append(func(*args, **kwargs))
        return self.made[-1]

    def _moves(self, *args: Any, **kwargs: Any) -> bool:
        targets = [x for x in (*args, kwargs.get("device")) if isinstance(x, str | torch.device)]
        return any(torch.device(target).type == self.device for target in targets)


class _Captured(NamedTuple):
    """A step as a graph: where its batch is put, and where its results are found."""

    graph: torch.cuda.CUDAGraph
    batch: Batch
    stats: Stats
    gradients: list[Tensor | None]
    constants: Constants  # must live as long as the graph


class Step:
    """Takes gradients of a batch: calls `compute`, or replays what it did, and leaves them in the parameters.

    `kind` is one of STEPS; `tell` gets the reason why there are no graphs, if there are none.
    """

    def __init__(
        self,
        compute: Callable[[Batch], Stats],
        parameters: Sequence[nn.Parameter],
        device: str,
        kind: str,
        tell: Callable[[str], None],
    ) -> None:
        self.compute, self.parameters, self.device, self.tell = compute, parameters, device, tell
        self.graphs: dict[tuple[object, ...], _Captured] = {}
        self.captures = kind == "graph" or (kind == "auto" and device == "cuda")

    def __call__(self, batch: Batch) -> Stats:
        """The stats of the batch's loss, tensors []."""
        if self.captures and batch.searches:
            self._give_up("its motion was not recorded")
        if self.captures:
            try:
                return self._replay(batch)
            except (RuntimeError, AssertionError) as error:
                self._give_up(str(error).partition("\n")[0])
        return self._plain(batch)

    def _give_up(self, reason: str) -> None:
        self.tell(f"steps are taken plainly, not as CUDA graphs: {reason}")
        self.captures = False
        self.graphs.clear()

    def _plain(self, batch: Batch) -> Stats:
        for parameter in self.parameters:
            parameter.grad = None
        return self.compute(batch)

    def _replay(self, batch: Batch) -> Stats:
        if batch.kind not in self.graphs:
            self.graphs[batch.kind] = self._capture(batch)
        captured = self.graphs[batch.kind]
        for place, tensor in zip(captured.batch.tensors, batch.tensors, strict=True):
            place.copy_(tensor)
        captured.graph.replay()
        for parameter, gradient in zip(self.parameters, captured.gradients, strict=True):
            parameter.grad = gradient
        return captured.stats

    def _capture(self, batch: Batch) -> _Captured:
        place = batch.each(torch.clone)
        constants = Constants(self.device)
        beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside), constants:
            self._plain(place)
        torch.cuda.current_stream().wait_stream(beside)
        constants.repeat()
        graph = torch.cuda.CUDAGraph()
        pool = next((other.graph.pool() for other in self.graphs.values()), None)
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"), constants:
            stats = self._plain(place)
        return _Captured(graph, place, stats, [p.grad for p in self.parameters], constants)


def use_tensor_cores(net: nn.Module) -> None:
    """On a GPU, convolve in TF32 where that is exact: where inputs and weights have few enough bits."""
    torch.backends.cudnn.enabled = torch.backends.cudnn.allow_tf32 = True
    for layer in net.modules():
        if isinstance(layer, Conv2d) and max(layer.grid_in.units, layer.sums.limit) > 1 << SIGNIFICAND:
            layer.register_forward_pre_hook(lambda *_: _allow_tf32(False))
            layer.register_forward_hook(lambda *_: _allow_tf32(True))


def _allow_tf32(allowed: bool) -> None:
    torch.backends.cudnn.allow_tf32 = allowed
