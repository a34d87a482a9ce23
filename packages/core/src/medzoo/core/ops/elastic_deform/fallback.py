"""The torch formulation behind the interface of the compiled backends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from medzoo.core.ops.elastic_deform.sampling import Warp, sample


class TorchBackend:
    """`forward` and `backward` as in `op.Backend`, on any device and in any precision."""

    def forward(self, warp: Warp) -> list[Tensor]:
        """Return the warped inputs."""
        return sample(warp)

    def backward(self, grads: list[Tensor], warp: Warp, need: list[bool]) -> list[Tensor]:
        """Run the forward again under autograd and differentiate it.

        Within an operator's kernel the dispatcher leaves autograd out, for the calling thread; a thread of its own
        has it.
        """
        device = warp.field.device
        stream = torch.cuda.current_stream(device) if device.type == "cuda" else None

        def run() -> list[Tensor]:
            with torch.cuda.stream(stream):  # does nothing for None
                return self._differentiate(grads, warp, need)

        with ThreadPoolExecutor(max_workers=1) as pool:
            return pool.submit(run).result()

    def _differentiate(self, grads: list[Tensor], warp: Warp, need: list[bool]) -> list[Tensor]:
        leaves = [
            None if t is None else t.detach().requires_grad_(n)
            for t, n in zip([warp.field, warp.affine, *warp.inputs], need, strict=True)
        ]
        assert leaves[0] is not None
        with torch.enable_grad():
            inputs = [t for t in leaves[2:] if t is not None]
            outputs = sample(Warp(inputs, leaves[0], leaves[1], warp.where, warp.rules))
        pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if o.requires_grad]
        targets = [t for t in leaves if t is not None and t.requires_grad]
        found: tuple[Tensor | None, ...] = (None,) * len(targets)
        if pairs and targets:
            found = torch.autograd.grad([o for o, _ in pairs], targets, [g for _, g in pairs], allow_unused=True)
        gradients = dict(zip(map(id, targets), found, strict=True))
        result = []
        for t in leaves:
            if t is None or not t.requires_grad:
                result.append(warp.field.new_empty(0))
                continue
            gradient = gradients[id(t)]
            result.append(torch.zeros_like(t) if gradient is None else gradient)
        return result
