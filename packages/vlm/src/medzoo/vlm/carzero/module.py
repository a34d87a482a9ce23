"""CARZero as a Lightning module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from medzoo.core.errors import check_choice
from medzoo.core.sample import Batch
from medzoo.vlm.base import check_least
from medzoo.vlm.carzero.losses import TARGETS, choices, contrastive, pair_up
from medzoo.vlm.carzero.network import FUSIONS, HEADS, Cabs, Cosine, SimR, fuse, maps
from medzoo.vlm.images import ImageFeatures
from medzoo.vlm.method import ImageTextMethod
from medzoo.vlm.text.encoder import TextFeatures
from medzoo.vlm.text.rewrite import denied_twin, denies


class CARZero(ImageTextMethod):
    """CARZero (CVPR 2024): a text looks into an image and the image into the text, and what they see is scored.

    Args:
        fit: How images of another shape are brought to size: stretch, pad with black, or crop.
        zoom: With pad, the longest side is so many times the network's, and the rest is cut.
        mean: Mean grey level, in [0, 1].
        spread: Standard deviation of the grey levels.
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
        negatives: Let images choose between a sentence and its opposite («There is no X»), and denials between images.
        frozen: Leave both encoders as they are, as a control.
        chunk: Queries that are fused at a time; empty: all.
        kwargs: Options of all methods of image and text.
    """

    def __init__(
        self,
        fit: str = "pad",
        zoom: float = 256 / 224,
        mean: float = 0.4978,
        spread: float = 0.2449,
        words: int = 97,
        mask_padding: bool = True,
        fusion: str = "simr",
        layers: int = 4,
        inner: int = 1024,
        head: str = "mlp",
        dropout: float = 0.1,
        sentences: int = 1,
        targets: str = "diagonal",
        negatives: bool = False,
        frozen: bool = False,
        chunk: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            fit=fit, zoom=zoom, mean=mean, spread=spread, words=words, mask_padding=mask_padding, sentences=sentences,
            **kwargs,
        )  # fmt: skip
        for option, value, allowed in (
            ("fusion", fusion, FUSIONS),
            ("head", head, HEADS),
            ("targets", targets, TARGETS),
        ):
            check_choice(f"model.{option}", value, allowed)
        check_least(layers=(layers, 1))
        width = self.hparams["width"]
        self.fusion: SimR | Cabs | Cosine = (
            SimR(width, layers, 4, inner, head, dropout)
            if fusion == "simr"
            else Cabs()
            if fusion == "cabs"
            else Cosine()
        )

    def setup(self, stage: str) -> None:
        """Build the text encoder, start from the weights that are given, and freeze what is to be frozen."""
        super().setup(stage)
        if self.hparams["frozen"]:
            self.image.requires_grad_(False)
            assert self.text is not None
            self.text.requires_grad_(False)

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
        loss = torch.stack([contrastive(side, right, out) for side in sides]).sum()
        if h["negatives"]:
            loss = loss + self._denials(image, texts, sides, right, out)
        self.log("train/loss", loss)
        return loss

    def _denials(
        self, image: ImageFeatures, texts: Sequence[str], sides: Sequence[Tensor], right: Tensor, out: Tensor
    ) -> Tensor:
        """Return the loss of the choices between each sentence of the form «There is X» and its opposite."""
        twins = [denied_twin(text) for text in texts]
        kept = torch.tensor([place for place, twin in enumerate(twins) if twin], device=self.device, dtype=torch.long)
        if not len(kept):
            return 0.0 * sides[0].sum()
        features = self.encode_text([twin for twin in twins if twin])
        opposite = fuse(self.fusion, image, features, self.hparams["chunk"]).sides()
        affirmed = torch.tensor([denies(twin) for twin in twins if twin], device=self.device)
        pairs = zip(sides, opposite, strict=True)
        losses = [choices(side[:, kept], twin, right[:, kept], out[:, kept], affirmed) for side, twin in pairs]
        return torch.stack(losses).sum()
