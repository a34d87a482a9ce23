"""APPLE as a Lightning module."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from medzoo.core.errors import ConfigError, check_choice
from medzoo.core.optim.schedules import adamw, cosine_decay
from medzoo.core.sample import Batch
from medzoo.core.segmenter.losses import mask_loss
from medzoo.core.segmenter.module import Segmenter
from medzoo.core.tasks.segmentation import SegmentationOutputs, network_masks
from medzoo.fairness.apple.losses import adversary_losses
from medzoo.fairness.apple.network import Discriminator, Perturber, through
from medzoo.fairness.apple.report import Features, channel_spreads, features, probes, without
from medzoo.fairness.apple.victim import copy_weights, trained_segmenter
from medzoo.fairness.method import attribute_of, group_codes, group_lookup, groups_of
from medzoo.fairness.segmentation import GroupSegmentation

VICTIM = "victim.ckpt"


class Apple(Segmenter):
    """APPLE (2024): a small perturbation of a frozen segmentation network's latent, so that groups differ less.

    Args:
        stage: `segment` (train a plain network), `perturb` (leave it as it is and learn the perturbation) or `all`.
        victim: Checkpoint of a segmenter, which the stage `perturb` needs.
        attribute: Sensitive attribute; empty where the data have one only.
        groups: Its values; empty: those of the data.
        layers: Names of the network's layers whose outputs are perturbed; what skips them stays as it is.
        epsilon: Largest perturbation of a value, in standard deviations of its channel.
        beta: Weight of the confusion of the discriminator; 0 is the control that only adapts.
        entropy: α, weight of the discriminator's entropy in the confusion.
        channels: Channels of the images; empty: as in the data.
        width: Features of the network's first level; each level has twice those of the one above.
        depth: Times that the network halves height and width.
        size: Height and width of the images, one number for a square; multiples of 2^depth.
        segment_lr: Highest learning rate of AdamW in the stage `segment`.
        segment_epochs: Epochs of the stage `segment`.
        segment_steps: Steps instead of epochs.
        lr: Highest learning rate of Adam in the stage `perturb`; it rises over a tenth of the steps and falls to 0.
        epochs: Epochs of the stage `perturb`.
        steps: Steps instead of epochs.
        batch: Images a batch.
    """

    stages: ClassVar[tuple[str, ...]] = ("segment", "perturb")
    prefixes: ClassVar[dict[str, str]] = {"segment": "segment_"}
    lookup: list[int] | None = None

    def __init__(
        self,
        stage: str = "segment",
        victim: str | None = None,
        attribute: str | None = None,
        groups: list[str] | None = None,
        layers: list[str] = ["bottleneck"],  # noqa: B006
        epsilon: float = 1.0,
        beta: float = 0.1,
        entropy: float = 1.0,
        channels: int | None = None,
        width: int = 32,
        depth: int = 4,
        size: int | list[int] = [256, 256],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        segment_lr: float = 1e-3,
        segment_epochs: int = 60,
        segment_steps: int | None = None,
        lr: float = 1e-3,
        epochs: int = 50,
        steps: int | None = None,
        batch: int = 16,
    ) -> None:
        check_choice("model.stage", stage, ("all", *self.stages))
        for name, value in (("epsilon", epsilon), ("beta", beta), ("entropy", entropy)):
            if value < 0:
                raise ConfigError(f"--model.{name}: expected at least 0, got {value}")
        if not layers or len(set(layers)) < len(layers):
            raise ConfigError(f"--model.layers: expected names, each once, got {', '.join(layers) or 'none'}")
        self.stage = stage
        super().__init__(
            channels=channels, width=width, depth=depth, size=size, lr=lr, epochs=epochs, steps=steps, batch=batch
        )

    def build(self) -> None:
        """Make the network and, in the stage `perturb`, what changes it, once channels and groups are known."""
        h = self.hparams
        self.perturbers: nn.ModuleList | None = None
        if self.stage != "perturb":
            super().build()
        elif h["channels"] is not None and h["groups"]:
            super().build()
            assert self.network is not None
            self.network.requires_grad_(False).eval()
            try:
                latents = through(self.network, h["layers"], torch.zeros(1, h["channels"], *self.input_size))[1]
            except ValueError as error:
                raise ConfigError(f"--model.layers: {error}") from error
            self.perturbers = nn.ModuleList(Perturber(z.shape[1], h["epsilon"]) for z in latents)
            self.discriminators = nn.ModuleList(Discriminator(z.shape[1], len(h["groups"])) for z in latents)

    def configure_model(self) -> None:
        """Take attribute and groups from the data, and the network from the victim, where no checkpoint has them."""
        h = self.hparams
        if self.stage == "perturb" and self.network is None:
            h["attribute"], names = attribute_of(self.data, h["attribute"], h["groups"])
            h["groups"] = h["groups"] or list(names)
            victim = trained_segmenter(h["victim"])
            h.update({shared: victim.hparams[shared] for shared in ("channels", "width", "depth")})
            self.build()
            copy_weights(victim, self)
        else:
            super().configure_model()
        self.lookup = group_lookup(self.data, h["attribute"], h["groups"] or ())

    def train(self, mode: bool = True) -> Apple:
        """Set the mode; a frozen network stays in that of evaluation, so that its statistics stay as they are."""
        super().train(mode)
        if self.stage == "perturb" and self.network is not None:
            self.network.eval()
        return self

    @torch.no_grad()
    def on_fit_start(self) -> None:
        """Measure how far each channel of the latents varies over the training images."""
        if self.perturbers is not None:
            batches = (batch["image"].to(self.device) for batch in self.data.plain_dataloader("train"))
            spreads = channel_spreads(self._through(image, perturbed=False)[1] for image in batches)
            for perturber, spread in zip(self.perturbers, spreads, strict=True):
                perturber.get_buffer("spread").copy_(spread)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW in the stage `segment`; Adam on perturber and discriminator in the stage `perturb`."""
        if self.perturbers is None:
            return adamw(self, self.stage_hparam("lr"))
        changed = [*self.perturbers.parameters(), *self.discriminators.parameters()]
        return cosine_decay(self, torch.optim.Adam(changed, self.hparams["lr"], betas=(0.5, 0.999)))

    def _through(self, image: Tensor, perturbed: bool = True) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        assert self.network is not None
        return through(self.network, self.hparams["layers"], image, self.perturbers if perturbed else None)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits `(B, 1, H, W)` of images `(B, channels, H, W)` in [0, 1], perturbed once that is learnt."""
        return self._through(image)[0] if self.perturbers is not None else super().forward(image)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Take one batch; perturbers and discriminators step together, each by its own loss."""
        if self.perturbers is None:
            return super().training_step(batch, batch_idx)
        logits, _, latents = self._through(batch["image"])
        group = group_codes(batch, self.hparams["attribute"], self.lookup)
        sure, confused = adversary_losses(self.discriminators, latents, group, self.hparams["entropy"])
        fit = mask_loss(logits, network_masks(batch, self.input_size)).mean()
        loss: Tensor = sure + fit + self.hparams["beta"] * confused
        self.log_dict({"train/loss": loss, "train/fit": fit, "train/discriminator": sure, "train/confusion": confused})
        return loss

    def new_evaluation(self, stage: Literal["validate", "test"]) -> GroupSegmentation:
        """Return an evaluation of masks by group."""
        return GroupSegmentation(groups_of(self.data))

    def on_test_start(self) -> None:
        """Begin the evaluations of the perturbed network and, beside it, of the one that is not."""
        super().on_test_start()
        self.unperturbed, self.latents = self.new_evaluation("test"), list[Features]()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Judge a batch, with and without perturbation."""
        super().test_step(batch, batch_idx)
        if self.perturbers is None:
            return
        _, before, after = self._through(batch["image"])
        self.unperturbed.update(batch, SegmentationOutputs(self._through(batch["image"], perturbed=False)[0]))
        self.latents += features(batch["id"], group_codes(batch, self.hparams["attribute"], self.lookup), before, after)

    @torch.no_grad()
    def on_test_epoch_end(self) -> None:
        """Log all figures, those without perturbation, and how well a new network tells the group from the latent."""
        super().on_test_epoch_end()
        if self.perturbers is None:
            return
        h, source, known = self.hparams, self.data.source, list[Features]()
        for batch in self.data.plain_dataloader("train"):
            _, before, after = self._through(batch["image"].to(self.device))
            known += features(batch["id"], group_codes(batch, h["attribute"], self.lookup), before, after)
        found = {without(name): value for name, value in self.unperturbed.compute().items()}
        for name, value in probes(known, self.latents, len(h["groups"])).items():
            found[f"{source}/{name}" if name == "perturbation" else f"{source}/{h['attribute']}/{name}"] = value
        self.log_dict({name: value for name, value in found.items() if value == value})

    def hand_over(self, folder: Path) -> dict[str, Any]:
        """Write the trained network to `victim.ckpt` for the next stage."""
        self.trainer.save_checkpoint(path := folder.resolve() / VICTIM)
        return {"victim": str(path)}
