"""CARZero as a Lightning module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from medzoo.core.backbones.pretrained import start_from
from medzoo.core.backbones.weights import load_weights
from medzoo.core.errors import ConfigError, check_choice
from medzoo.core.optim.schedules import adamw
from medzoo.core.sample import Batch
from medzoo.core.sides import sides
from medzoo.vlm.carzero.losses import TARGETS, contrastive, pair_up
from medzoo.vlm.carzero.network import FUSIONS, HEADS, Cabs, Cosine, SimR, fuse, maps
from medzoo.vlm.images import ImageEncoder, ImageFeatures
from medzoo.vlm.method import ImageTextMethod
from medzoo.vlm.processor import FITS, Processor, ReportWants
from medzoo.vlm.text.encoder import TextFeatures
from medzoo.vlm.text.prompts import presets
from medzoo.vlm.text.rewrite import denied_twin


class CARZero(ImageTextMethod):
    """CARZero (CVPR 2024): a text looks into an image and the image into the text, and what they see is scored.

    Args:
        backbone: Image network of timm, such as vit_base_patch16_224 or resnet50.
        weights: File with weights of it; empty: random ones. Nothing is downloaded.
        size: Height and width of the images, one number for a square.
        fit: How images of another shape are brought to size: stretch, or pad with black.
        zoom: With pad, the longest side is so many times the network's, and the rest is cut.
        mean: Mean grey level, in [0, 1].
        spread: Standard deviation of the grey levels.
        stride: Pixels of a patch, of a convolutional network.
        text: Local Hugging Face folder of a BERT; empty: a small one whose vocabulary is made of the reports.
        width: Size of all features.
        text_layers: Layers of the small BERT.
        pieces: Most pieces of its vocabulary.
        words: Most words of a sentence, with the pieces that begin and end it.
        mask_padding: Leave out places without a word; the published weights need false, with 97 words.
        fusion: simr (CARZero), cabs (RadZero's similarity) or cosine (the usual global features).
        layers: Layers of the fusion.
        inner: Width of their feed-forward parts.
        head: mlp, as released, or linear, as in the paper.
        dropout: Part that the fusion drops in training.
        sentences: Sentences of an image that are drawn in each epoch; the paper's is 1.
        targets: A sentence that another image of the batch has too is wrong for it (diagonal), left out (dedup) or
            right (multi_positive).
        prompts: Preset by which names of classes become sentences.
        candidates: Most reports among which a validation or test looks for each image's own.
        negatives: Give each image the denial of its sentences («There is no X») as more wrong ones.
        frozen: Leave both encoders as they are, as a control.
        chunk: Queries that are fused at a time; empty: all.
        lr: Highest learning rate of AdamW; it rises over a tenth of the steps and falls to 0 by a cosine.
        epochs: Epochs.
        steps: Steps instead of epochs.
        batch: Pairs a batch.
        network: What a checkpoint keeps of text encoder and classes; empty for a new model.
    """

    def __init__(
        self,
        backbone: str = "vit_base_patch16_224",
        weights: str | None = None,
        size: int | list[int] = [224, 224],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        fit: str = "pad",
        zoom: float = 256 / 224,
        mean: float = 0.4978,
        spread: float = 0.2449,
        stride: int = 16,
        text: str | None = None,
        width: int = 768,
        text_layers: int = 12,
        pieces: int = 8000,
        words: int = 97,
        mask_padding: bool = True,
        fusion: str = "simr",
        layers: int = 4,
        inner: int = 1024,
        head: str = "mlp",
        dropout: float = 0.1,
        sentences: int = 1,
        targets: str = "diagonal",
        prompts: str = "carzero",
        candidates: int = 1000,
        negatives: bool = False,
        frozen: bool = False,
        chunk: int | None = None,
        lr: float = 5e-5,
        epochs: int = 15,
        steps: int | None = None,
        batch: int = 128,
        network: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        for option, value, allowed in (
            ("fit", fit, FITS), ("fusion", fusion, FUSIONS), ("head", head, HEADS), ("targets", targets, TARGETS),
            ("prompts", prompts, presets()),
        ):  # fmt: skip
            check_choice(f"model.{option}", value, allowed)
        for option, number, least in (("width", width, 1), ("words", words, 3), ("layers", layers, 1)):
            if number < least:
                raise ConfigError(f"--model.{option}: expected at least {least}, got {number}")
        if sentences < 1:
            raise ConfigError(f"--model.sentences: expected at least 1, got {sentences}")
        if not spread > 0:
            raise ConfigError(f"--model.spread: expected more than 0, got {spread}")
        if not zoom >= 1:
            raise ConfigError(f"--model.zoom: expected at least 1, got {zoom}")
        self.processor = Processor(sides("model.size", size), fit, zoom)
        try:
            self.image = ImageEncoder(backbone, self.processor.size, width, mean, spread, stride)
        except ValueError as error:
            raise ConfigError(f"--model.backbone: {error}") from error
        self.fusion: SimR | Cabs | Cosine = (
            SimR(width, layers, 4, inner, head, dropout)
            if fusion == "simr"
            else Cabs()
            if fusion == "cabs"
            else Cosine()
        )
        self.restore_text()

    def wants(self) -> ReportWants:
        """Images of `size` with sentences; no label is trained on."""
        h = self.hparams
        return ReportWants(
            self.processor.size, int(h["batch"]), processor=self.processor, sentences=int(h["sentences"])
        )

    def setup(self, stage: str) -> None:
        """Build the text encoder, and start from the weights that are given."""
        super().setup(stage)
        if stage == "fit":
            start_from(self.hparams["weights"], lambda given: load_weights(self.image.model, given, "--model.weights"))
        if self.hparams["frozen"]:
            self.image.requires_grad_(False)
            assert self.text is not None
            self.text.requires_grad_(False)

    def configure_optimizers(self) -> Any:
        """AdamW with warm-up and cosine decay."""
        return adamw(self, self.hparams["lr"])

    def encode_image(self, image: Tensor) -> ImageFeatures:
        """Return the features of images `(B, 1, H, W)` in [0, 1]."""
        found: ImageFeatures = self.image(image)
        return found

    def similarity(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return the logits `(images, texts)`, the mean of both directions."""
        return fuse(self.fusion, image, text, self.hparams["chunk"]).score

    def attention_maps(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return where in each image each text is seen, `(images, texts, rows, columns)`."""
        return maps(self.fusion, image, text)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Take one batch of images, each with its sentences."""
        h, image = self.hparams, self.encode_image(batch["image"])
        texts, right, out = pair_up(batch["captions"], batch["said"], h["targets"])
        right, out = right.to(self.device), out.to(self.device)
        sides = fuse(self.fusion, image, self.encode_text(texts), h["chunk"]).sides()
        wrong = self._denials(image, texts) if h["negatives"] else [None] * len(sides)
        losses = [contrastive(side, right, out, own) for side, own in zip(sides, wrong, strict=True)]
        loss = torch.stack(losses).sum()
        self.log("train/loss", loss)
        return loss

    def _denials(self, image: ImageFeatures, texts: Sequence[str]) -> list[Tensor]:
        """Return the logits `(B, M)` of images with the denial of each sentence, −inf where it has none."""
        twins = [denied_twin(text) for text in texts]
        there = torch.tensor([twin is not None for twin in twins], device=self.device)
        features = self.encode_text([twin or "" for twin in twins])
        sides = fuse(self.fusion, image, features, self.hparams["chunk"]).sides()
        return [logits.masked_fill(~there, -torch.inf) for logits in sides]
