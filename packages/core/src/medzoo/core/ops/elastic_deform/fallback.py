"""The torch formulation behind the interface of the compiled backends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from medzoo.core.ops.elastic_deform.sampling import Frame, Rule, sample


class TorchBackend:
    """`forward` and `backward` as in `op.Backend`, on any device and in any precision."""

    def forward(
        self, inputs: list[Tensor], field: Tensor, affine: Tensor | None, where: Frame, rules: list[Rule]
    ) -> list[Tensor]:
        """Return the warped inputs."""
        return sample(inputs, field, affine, where, rules)

    def backward(
        self,
        grads: list[Tensor],
        inputs: list[Tensor],
        field: Tensor,
        affine: Tensor | None,
        where: Frame,
        rules: list[Rule],
        need: list[bool],
    ) -> list[Tensor]:
        """Run the forward again under autograd and differentiate it.

        Within an operator's kernel the dispatcher leaves autograd out, for the calling thread; a thread of its own
        has it.
        """
        stream = torch.cuda.current_stream(field.device) if field.device.type == "cuda" else None

        def run() -> list[Tensor]:
            with torch.cuda.stream(stream):  # does nothing for None
                return self._differentiate(grads, inputs, field, affine, where, rules, need)

        with ThreadPoolExecutor(max_workers=1) as pool:
            return pool.submit(run).result()

    def _differentiate(
        self,
        grads: list[Tensor],
        inputs: list[Tensor],
        field: Tensor,
        affine: Tensor | None,
        where: Frame,
        rules: list[Rule],
        need: list[bool],
    ) -> list[Tensor]:
        leaves = [
            None if t is None else t.detach().requires_grad_(n)
            for t, n in zip([field, affine, *inputs], need, strict=True)
        ]
        assert leaves[0] is not None
        with torch.enable_grad():
            outputs = sample([t for t in leaves[2:] if t is not None], leaves[0], leaves[1], where, rules)
        pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if o.requires_grad]
        targets = [t for t in leaves if t is not None and t.requires_grad]
        found: tuple[Tensor | None, ...] = (None,) * len(targets)
        if pairs and targets:
            found = torch.autograd.grad([o for o, _ in pairs], targets, [g for _, g in pairs], allow_unused=True)
        gradients = dict(zip(map(id, targets), found, strict=True))
        result = []
        for t in leaves:
            gradient = None if t is None else gradients.get(id(t))
            needed = t is not None and t.requires_grad
            result.append(gradient if gradient is not None else torch.zeros_like(t) if needed else field.new_empty(0))  # type: ignore[arg-type]
        return result
