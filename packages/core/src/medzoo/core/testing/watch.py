"""What a test sees: the samples, and whether the outputs of its model have gradients to their images."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from medzoo.core.cli.parser import TRUSTED
from medzoo.core.method import Method
from medzoo.core.sample import Batch

TESTED = "tested.json"


class WatchTest(Callback):
    """Write `tested.json`: source and id of each sample of a test, and what its first batch shows of gradients.

    Args:
        key: Key of a batch to which outputs are differentiated.
    """

    def __init__(self, key: str = "image") -> None:
        self.key = key
        self.seen: list[tuple[str, str]] = []
        self.gradients: dict[str, str] = {}

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Note the names of a batch, and look at the gradients of the first."""
        sources = batch.get("source", [""] * len(batch["id"]))
        self.seen += zip(sources, batch["id"], strict=True)
        own = isinstance(pl_module, Method) and type(pl_module).outputs is not Method.outputs
        if isinstance(pl_module, Method) and own and batch_idx == 0:
            self.gradients = gradients(pl_module, batch, self.key)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what was seen."""
        seen = {"seen": self.seen, "gradients": self.gradients}
        (Path(trainer.default_root_dir) / TESTED).write_text(json.dumps(seen))


def gradients(method: Method, batch: Batch, key: str) -> dict[str, str]:
    """Return of each tensor of a method's outputs whether it has a gradient to one of the batch.

    Args:
        method: In the mode in which it is asked.
        batch: A batch of a test.
        key: Key of the tensor in the batch.

    Returns:
        By the name of a field, `"none"`, `"zero"`, `"finite"` or `"not finite"`.
    """
    with torch.enable_grad():
        image = batch[key].detach().clone().requires_grad_()
        outputs = method.outputs({**batch, key: image})
        assert is_dataclass(outputs), f"outputs(batch) gives a {type(outputs).__name__}, expected a dataclass"
        values = {field.name: getattr(outputs, field.name) for field in fields(outputs)}
        return {name: _gradient(value, image) for name, value in values.items() if isinstance(value, Tensor)}


def _gradient(value: Tensor, image: Tensor) -> str:
    if not value.requires_grad:
        return "none"
    known = value[value.isfinite()]  # a point that was not found is NaN
    # Squares, as the sum of probabilities is constant.
    grads: tuple[Tensor | None, ...] = torch.autograd.grad(
        known.square().sum(), image, retain_graph=True, allow_unused=True
    )
    found = grads[0]
    if found is None:
        return "none"
    return "zero" if not bool(found.any()) else "finite" if bool(found.isfinite().all()) else "not finite"


def watching_a_test(key: str) -> dict[str, object]:
    """Return the configuration that adds the callback to a test, which then permits gradients; as `replay.watching`.

    Args:
        key: Key of a batch to which outputs are differentiated.
    """
    if __name__ not in TRUSTED:
        TRUSTED.append(__name__)
    callback = {"class_path": f"{__name__}.{WatchTest.__name__}", "init_args": {"key": key}}
    return {"trainer": {"callbacks": [callback], "inference_mode": False}}
