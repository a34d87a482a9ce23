"""ECAMP as a Lightning module."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from medzoo.core.backbones.pretrained import start_from
from medzoo.core.backbones.weights import load_weights
from medzoo.core.errors import ConfigError, check_choice
from medzoo.core.sample import Batch
from medzoo.core.sides import sides
from medzoo.core.tasks.base import Prediction
from medzoo.vlm.ecamp.losses import all_words, hidden_patches, sharper
from medzoo.vlm.ecamp.masking import DESCRIPTORS, hide_words
from medzoo.vlm.ecamp.method import ReadingMethod
from medzoo.vlm.ecamp.network import Autoencoder, draw_kept, window_about
from medzoo.vlm.ecamp.report import FilledIn, FilledInEvaluation, predictions
from medzoo.vlm.processor import Processor
from medzoo.vlm.text.wordpiece import MASK

WINDOWS = ("attention", "centre")
ENCODER = "encoder.safetensors"


class ECAMP(ReadingMethod):
    """ECAMP (Medical Image Analysis 2025): a vision transformer learns to rebuild radiographs and hidden report words.

    Args:
        mean: Mean grey level, in [0, 1].
        spread: Standard deviation of the grey levels.
        mask: Share of the patches that is hidden.
        decoder: Width of the image decoder.
        decoder_layers: Its layers.
        decoder_heads: Its attention heads.
        sr_final_relu: Cut off what is darker than the mean in the super-resolution, as the public code does.
        window: Where the super-resolution counts: about what words look at (attention), or in the middle (centre).
        text_layers: Layers of the language model.
        text_heads: Its attention heads.
        inner: Width of its feed-forward parts.
        pieces: Most pieces of its vocabulary, which is made of the reports.
        words: Pieces of a report, with those that begin and end it; shorter ones are filled up.
        sentences: Most sentences of a report.
        descriptors: Words before an entity are hidden as others (same), always or never.
        lr: Highest learning rate of AdamW; it rises over a tenth of the steps and falls to 0 by a cosine.
        epochs: Epochs.
        batch: Images a batch.
        kwargs: Options of all methods that learn from images with reports.
    """

    def __init__(
        self,
        mean: float = 0.4721,
        spread: float = 0.3037,
        mask: float = 0.75,
        decoder: int = 512,
        decoder_layers: int = 4,
        decoder_heads: int = 16,
        sr_final_relu: bool = True,
        window: str = "attention",
        text_layers: int = 6,
        text_heads: int = 6,
        inner: int = 1536,
        pieces: int = 30_000,
        words: int = 256,
        sentences: int = 100,
        descriptors: str = "same",
        lr: float = 1.5e-4,
        epochs: int = 120,
        batch: int = 256,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            mean=mean, spread=spread, text_layers=text_layers, pieces=pieces, words=words, sentences=sentences, lr=lr,
            epochs=epochs, batch=batch, **kwargs,
        )  # fmt: skip
        for option, value, allowed in (
            ("window", window, WINDOWS),
            ("descriptors", descriptors, DESCRIPTORS),
        ):
            check_choice(f"model.{option}", value, allowed)
        if not 0 < mask < 1:
            raise ConfigError(f"--model.mask: expected a share between 0 and 1, got {mask}")
        h = self.hparams
        self.small = sides("model.size", h["size"])
        self.processor = Processor((2 * self.small[0], 2 * self.small[1]), h["fit"])
        try:
            self.image = Autoencoder(h["backbone"], self.small, decoder, decoder_layers, decoder_heads, sr_final_relu)
        except ValueError as error:
            raise ConfigError(f"--model.backbone: {error}") from error
        self.restore()

    def setup(self, stage: str) -> None:
        """Make the vocabulary, and start from the weights that are given."""
        self.configure_model()
        if stage == "fit":
            start_from(self.hparams["weights"], lambda given: load_weights(self.image.vit, given, "--model.weights"))

    def outputs(self, batch: Batch) -> FilledIn:
        """Return how well hidden patches and words are filled in, with gradients to the images."""
        assert self.reader is not None
        h, draws = self.hparams, self.draws(batch)
        large = ((batch["image"] - h["mean"]) / h["spread"]).expand(-1, 3, -1, -1)
        small = functional.interpolate(large, self.small, mode="bicubic", align_corners=False, antialias=True)
        count = len(self.image.positions)
        noise = torch.from_numpy(np.stack([rng.random(count) for rng in draws])).to(self.device)
        kept, mask = draw_kept(count, h["mask"], noise)
        rebuilt = self.image(small, kept)
        assert self.tokenizer is not None
        words = hide_words(self.tokenizer, self.texts(batch), h["words"], draws, h["descriptors"])
        ids, masked, entities, counts = (part.to(self.device) for part in words)
        logits, attention = self.reader(ids.masked_fill(masked, self.tokenizer.places[MASK]), rebuilt.latent)
        wanted, right, sought = self.image.to_patches(small), (logits.argmax(2) == ids) & masked, entities & masked
        seen = (wanted * ~mask[..., None]).sum((1, 2)) / (~mask).sum(1) / wanted.shape[2]
        share = count / mask.sum(1)
        grey = self.image.to_image(torch.where(mask[..., None], rebuilt.patches, wanted)).mean(1)
        return FilledIn(
            hidden_patches(rebuilt.patches, wanted, mask) * share,
            hidden_patches(seen[:, None, None].expand_as(wanted), wanted, mask) * share,
            sharper(rebuilt.sharp, large, *self._window(attention, kept, entities)),
            all_words(logits, ids, counts),
            right.sum(1), masked.sum(1), (right & sought).sum(1), sought.sum(1),
            (grey * h["spread"] + h["mean"]).clamp(0, 1),
        )  # fmt: skip

    def _window(self, attention: Tensor, kept: Tensor, entities: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return the corner of each image's window in pixels of the large image, and the window's size there."""
        grid, patch = self.image.grid, self.image.patch
        inner = (max(1, grid[0] - 2), max(1, grid[1] - 2))
        looked = (attention.detach() * entities[..., None]).sum(1) + 1e-6
        corner = window_about(looked, kept, grid, inner)
        if self.hparams["window"] == "centre":
            corner = torch.tensor([(grid[0] - inner[0]) // 2, (grid[1] - inner[1]) // 2]).to(kept).expand(len(kept), 2)
        scale = torch.tensor([2 * patch[0], 2 * patch[1]], device=kept.device)
        return corner * scale, (inner[0] * 2 * patch[0], inner[1] * 2 * patch[1])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Take one batch of images with their reports."""
        found = self.outputs(batch)
        parts = {
            "patches": found.patches.mean() * self.hparams["mask"],
            "sharp": found.sharp.mean(),
            "words": found.words.mean(),
        }
        loss: Tensor = torch.stack(list(parts.values())).sum()
        self.log_dict({"train/loss": loss, **{f"train/{name}": value for name, value in parts.items()}})
        return loss

    def new_evaluation(self, stage: Literal["validate", "test"]) -> FilledInEvaluation:
        """Return an evaluation, after which a test writes the weights of the image network."""
        return FilledInEvaluation(self.write_encoder)

    def predictions(self, batch: Batch, outputs: FilledIn) -> list[Prediction]:
        """Return a record an image, with the rebuilt image."""
        return predictions(batch, outputs)

    def write_encoder(self, folder: Path) -> None:
        """Write the weights of the vision transformer as timm names them, for `--model.weights` of other models."""
        save_file(
            {name: value.contiguous().cpu() for name, value in self.image.vit.state_dict().items()}, folder / ENCODER
        )
