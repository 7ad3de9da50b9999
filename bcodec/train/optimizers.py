"""The optimizers: Muon for kernels, AdamW for the rest."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn


def orthogonal(matrices: Tensor) -> Tensor:
    """The matrices [N, R, C] with all singular values moved near 1, by the Newton-Schulz iteration of Muon.

    K. Jordan et al., Muon (2024), https://kellerjordan.github.io/posts/muon/.
    """
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    # bfloat16 suffices, but a CPU without it takes ten times as long as in float32.
    x = x.bfloat16() if x.is_cuda else x
    wide = x if x.shape[1] <= x.shape[2] else x.mT
    for _ in range(5):
        square = wide @ wide.mT
        wide = 3.4445 * wide + (-4.7750 * square + 2.0315 * square @ square) @ wide
    result: Tensor = wide if x.shape[1] <= x.shape[2] else wide.mT
    return result.to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalized updates for convolution weights [C_out, ...], matrices [C_out, rest]."""

    def __init__(self, parameters: list[dict[str, object]], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update, weights of one shape together; the root mean square of a change is about 0.2 lr."""
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[nn.Parameter]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault((p.shape[0], p[0].numel()), []).append(p)
            for shape, parameters in alike.items():
                gradients = [cast(Tensor, p.grad) for p in parameters]
                buffers = [self.state[p].setdefault("momentum", torch.zeros_like(p)) for p in parameters]
                torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
                ahead = torch._foreach_lerp(gradients, buffers, group["momentum"])
                changes = orthogonal(torch.stack([direction.flatten(1) for direction in ahead]))
                changes *= -group["lr"] * 0.2 * math.sqrt(max(shape))
                shaped = [change.view_as(p) for p, change in zip(parameters, changes, strict=True)]
                torch._foreach_add_(cast(list[Tensor], parameters), shaped)


def make_optimizers(
    named: list[tuple[str, nn.Parameter]], lr: float, kind: str
) -> list[torch.optim.Optimizer]:
    """Muon for the convolutions' kernels and AdamW for the rest, or AdamW for all.

    Block transforms learn at a tenth of the rate. The logarithms of quantization steps and of the odds of
    block sizes, which have as far to go as weights but are few, at five times.
    """
    kernels: dict[float, list[nn.Parameter]] = {}
    others: dict[float, list[nn.Parameter]] = {}
    for name, parameter in named:
        transform = ".transform." in name
        steps = name.endswith((".knots", ".channel")) or ".flags." in name
        pace = 0.1 if transform else 5.0 if steps else 1.0
        matrix = kind == "muon" and parameter.ndim == 4 and parameter.shape[1] > 1 and not transform
        (kernels if matrix else others).setdefault(pace, []).append(parameter)
    adam = [{"params": parameters, "lr": lr * pace} for pace, parameters in others.items()]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(adam, betas=(0.9, 0.98), weight_decay=0.0)]
    if kernels:
        muon = [{"params": parameters, "lr": lr * pace} for pace, parameters in kernels.items()]
        optimizers.append(Muon(muon, lr))
    return optimizers
