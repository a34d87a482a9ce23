"""Scores of images for prompts and for whole reports: each sentence is encoded once, logits of several are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from medzoo.vlm.images import ImageFeatures
from medzoo.vlm.text.encoder import TextFeatures
from medzoo.vlm.text.prompts import Prompts, spoken


class Comparing(Protocol):
    """A model that compares images with texts."""

    def check_text(self, texts: Sequence[str], what: str) -> None:
        """Refuse texts that it cannot read; `what` is the option that gave them."""

    def encode_text(self, texts: Sequence[str]) -> TextFeatures:
        """Return features of texts."""

    def similarity(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return logits `(images, texts)`."""

    def attention_maps(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return `(images, texts, rows, columns)`."""


@dataclass(frozen=True)
class Weighted:
    """Texts whose logits are averaged into those of larger units.

    Attributes:
        features: Of the texts, each of them once.
        shares: `(units, texts)`, rows sum to 1.
    """

    features: TextFeatures
    shares: Tensor

    @classmethod
    def of(cls, model: Comparing, units: Sequence[Sequence[str]]) -> Weighted:
        """Encode the sentences of units.

        Args:
            model: Encodes texts.
            units: Sentences of each unit, at least one.
        """
        texts = list(dict.fromkeys(text for unit in units for text in unit))
        places = {text: place for place, text in enumerate(texts)}
        features = model.encode_text(texts)
        shares = features.globals.new_zeros(len(units), len(texts))
        for row, unit in enumerate(units):
            for text in unit:
                shares[row, places[text]] += 1 / len(unit)
        return cls(features, shares)


class Scorer:
    """Scores images for the classes of some prompts, and for candidate reports.

    Args:
        model: Compares images with texts.
        prompts: The classes; None for none.
        reports: Sentences of each candidate of a retrieval, whose logit is the mean over them.
        what: Where the classes come from, for messages.

    Raises:
        ConfigError: The model knows no word of a class or sentence, or it is too long.
    """

    def __init__(
        self,
        model: Comparing,
        prompts: Prompts | None,
        reports: Sequence[Sequence[str]] = (),
        what: str = "--prompts",
    ) -> None:
        self.model, self.prompts = model, prompts
        classes = prompts.classes if prompts else ()
        for prompt in classes:
            texts = [*prompt.positive, *prompt.negative]
            # A name within a sentence is looked at alone: of «There is X» something is always known.
            name = spoken(prompt.name)
            named = [name] if any(name in text for text in texts) else []
            model.check_text([*named, *texts], what)
        denying = [prompt.negative for prompt in classes]
        self._affirmed = Weighted.of(model, [prompt.positive for prompt in classes]) if classes else None
        self._denied = Weighted.of(model, denying) if classes and all(denying) else None
        self._reports = Weighted.of(model, reports) if reports else None

    def scores(self, image: ImageFeatures) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return logits that affirm each class, that deny it, and those of the reports, each `(B, ·)`.

        With prompts in pairs the first is the difference of both: the logit of their softmax.
        """
        affirmed = self._of(self._affirmed, image)
        denied, matched = self._of(self._denied, image), self._of(self._reports, image)
        if affirmed is None:
            affirmed = image.globals.new_zeros(len(image.globals), 0)
        elif self.prompts is not None and self.prompts.combine == "pair" and denied is not None:
            affirmed = affirmed - denied
        return affirmed, denied, matched

    def maps(self, image: ImageFeatures) -> Tensor:
        """Return where each class is seen, `(B, classes, rows, columns)`, averaged over its affirming sentences."""
        assert self._affirmed is not None, "there are no classes"
        found = self.model.attention_maps(image, self._affirmed.features)
        return torch.einsum("bthw,ct->bchw", found, self._affirmed.shares)

    def _of(self, texts: Weighted | None, image: ImageFeatures) -> Tensor | None:
        return None if texts is None else self.model.similarity(image, texts.features) @ texts.shares.T
