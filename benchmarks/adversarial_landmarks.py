"""How near landmarks of drawn heads are led to their goals: uniform weights, adaptive ones, and the form of their loss.

Usage: python benchmarks/adversarial_landmarks.py CKPT SEED [STEPS [EPS,EPS…]]
CKPT is a landmark model of heads with heat maps of logits, such as `heatmap`. One landmark of each head, and then a
drawn number of them, go to places in the middle 70 % of the image. Prints a row a budget (of 255) and form, in mm.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from medzoo.adversarial.ati_fgsm import ati_fgsm
from medzoo.adversarial.engine import MethodVictim
from medzoo.core import load_checkpoint
from medzoo.core.geometry.points import to_original
from medzoo.core.method import Method
from medzoo.core.metrics import radial_errors
from medzoo.core.sample import Batch
from medzoo.core.tasks.landmark_types import LandmarkOutputs
from medzoo.landmark.data.phantoms import LandmarkPhantoms

FORMS: dict[str, dict[str, Any]] = {
    "TI": {"adaptive": False},
    "ATI, cross-entropy": {"floored": True},
    "ATI, divergence": {},
}
SHOWN = (1, 20, 50, 100, 200, 300)


class Compared(Callback):
    """Leads the landmarks of the first batch to goals in each form."""

    def __init__(self, seed: int, steps: int, budgets: list[float]) -> None:
        self.seed, self.steps, self.budgets = seed, steps, budgets

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Attack and print."""
        if batch_idx or not isinstance(pl_module, Method):
            return
        images = batch["image"].clamp(0, 1)
        with torch.no_grad():
            clean: LandmarkOutputs = pl_module.outputs(batch)
        assert clean.maps.shape[-2:] == images.shape[-2:]
        truth = batch["landmarks"].double()
        everything = torch.ones(truth.shape[:2], dtype=torch.bool, device=images.device)
        error = self._distance(batch, clean.points, truth, everything)
        print(f"{len(images)} heads of {list(images.shape[-2:])}, clean error {error.mean():.2f} mm")
        generator = torch.Generator().manual_seed(self.seed)
        count = truth.shape[1]
        share = 0.15 + 0.7 * torch.rand(len(images), count, 2, generator=generator)
        places = (share * (torch.tensor([images.shape[-1], images.shape[-2]]) - 1)).to(images)
        order = torch.stack([torch.randperm(count, generator=generator) for _ in images])
        many = torch.randint(1, count - 1, (len(images), 1), generator=generator)
        for name, number in (("one landmark", torch.ones_like(many)), ("1 to 17 landmarks", many)):
            led = (order < number).to(images.device)
            goals = torch.where(led[..., None], places, torch.nan)
            far = self._distance(batch, clean.points, to_original(places, batch["affine"]), led)
            print(f"{name}: {int(led.sum())} led, goals {far[led].mean():.0f} mm away")
            for eps in self.budgets:
                for form, settings in FORMS.items():
                    self._one(pl_module, batch, images, clean, goals, led, eps, form, settings)

    def _one(
        self, model: Method, batch: Batch, images: Tensor, clean: LandmarkOutputs, goals: Tensor, led: Tensor,
        eps: float, form: str, settings: dict[str, Any],
    ) -> None:  # fmt: skip
        started, trace = time.perf_counter(), list[Tensor]()
        victim = MethodVictim(model, batch, lambda outputs: outputs.maps)
        found = ati_fgsm(victim, images, goals, eps=eps / 255, steps=self.steps, trace=trace, **settings)
        with torch.no_grad():
            after: LandmarkOutputs = model.outputs(batch | {"image": found.images})
        aim = to_original(torch.where(led[..., None], goals, clean.points), batch["affine"])
        off = self._distance(batch, after.points, aim, torch.ones_like(led))
        there, still = off[led], off[~led]
        curve = [self._distance(batch, trace[min(n, len(trace) - 1)], aim, torch.ones_like(led))[led].mean()
                 for n in SHOWN if n <= self.steps]  # fmt: skip
        print(
            f"  eps {eps:g}, {form}: to goal mean {there.nanmean():.1f} median {there.nanmedian():.1f} "
            f"within 2 mm {(there <= 2).float().mean():.2f} 4 mm {(there <= 4).float().mean():.2f}; "
            f"drift mean {still.nanmean():.2f} median {still.nanmedian():.2f}; "
            f"curve {' '.join(f'{float(value):.1f}' for value in curve)}; {time.perf_counter() - started:.0f} s",
            flush=True,
        )

    def _distance(self, batch: Batch, points: Tensor, to: Tensor, which: Tensor) -> Tensor:
        errors: Tensor = radial_errors(to_original(points, batch["affine"]), to, which, batch["scale"].double())
        return errors


def main(path: str, seed: int, steps: int, budgets: list[float]) -> None:
    model = load_checkpoint(path)
    data = LandmarkPhantoms(domains=["head"], n_test=8, seed=seed)
    compared = Compared(seed, steps, budgets)
    trainer = Trainer(
        logger=False, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        callbacks=[compared], inference_mode=False, devices=1,
    )  # fmt: skip
    trainer.test(model, datamodule=data, verbose=False)


if __name__ == "__main__":
    main(
        sys.argv[1],
        int(sys.argv[2]),
        int(sys.argv[3]) if len(sys.argv) > 3 else 300,
        [float(part) for part in (sys.argv[4] if len(sys.argv) > 4 else "2,4,8,16").split(",")],
    )
