"""A method that learns from images with reports and judges nothing: its words, its draws, its figures."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from medzoo.core.errors import ConfigError
from medzoo.core.sample import Batch
from medzoo.vlm.base import ReportMethod
from medzoo.vlm.ecamp.network import Autoencoder, Reader
from medzoo.vlm.text.encoder import TextSettings
from medzoo.vlm.text.wordpiece import WordPiece, build_vocabulary


class ReadingMethod(ReportMethod):
    """A method with a language model whose vocabulary is made of the reports to train on.

    A subclass makes `image` and `processor`, has the arguments `text_heads`, `inner` and `mask`, and calls `restore()`
    at the end of its `__init__`.
    """

    monitor: ClassVar[str] = "val/loss"
    image: Autoencoder

    def restore(self) -> None:
        """Make the language model where a checkpoint says which."""
        self.tokenizer: WordPiece | None = None
        self.reader: Reader | None = None
        if self.hparams["network"] is not None:
            self._build(TextSettings(**self.hparams["network"]))

    def _build(self, settings: TextSettings) -> None:
        self.tokenizer = settings.tokenizer()
        try:
            self.reader = Reader(settings.bert(), self.image.vit.embed_dim)
        except ValueError as error:
            raise ConfigError(f"--model.width: {error}") from error
        self.hparams["network"] = vars(settings) | {"size": dict(settings.size)}

    def configure_model(self) -> None:
        """Make the vocabulary of the reports to train on."""
        if self.reader is not None:
            return
        h, data = self.hparams, getattr(self.trainer, "datamodule", None)
        if data is None or not hasattr(data, "corpus"):
            raise ConfigError(f"--data: {type(data).__name__} has no reports; choose report-phantoms or alike")
        vocabulary = build_vocabulary(data.corpus(), int(h["pieces"]))
        names = {"layers": "text_layers", "heads": "text_heads", "positions": "words"}
        own = {key: h[names.get(key, key)] for key in ("width", "layers", "heads", "inner", "positions")}
        self._build(TextSettings({"vocabulary": float(len(vocabulary)), "dropout": 0.1, **own}, vocabulary))

    def texts(self, batch: Batch) -> list[str]:
        """Return the report of each image: drawn sentences where it is trained on."""
        return [". ".join(own) for own in batch["captions"]] if "captions" in batch else list(batch["text"])

    def draws(self, batch: Batch) -> list[np.random.Generator]:
        """Return a source of draws for each image: new ones in training, the same ever after otherwise."""
        if self.training:
            return [np.random.default_rng(seed) for seed in torch.randint(2**31, (len(batch["id"]),)).tolist()]
        return [np.random.default_rng(zlib.crc32(name.encode())) for name in batch["id"]]

    def validation_scores(self, scores: Mapping[str, float | Tensor]) -> dict[str, float | Tensor]:
        """Choose `loss`, the sum of the three, and the shares of words and entities that were found."""
        names = ("patches", "sharp", "words", "word_accuracy", "entity_accuracy")
        each = {n: [float(v) for k, v in scores.items() if k.endswith(f"/{n}")] for n in names}
        means: dict[str, float | Tensor] = {name: sum(values) / len(values) for name, values in each.items() if values}
        loss = means["patches"] * self.hparams["mask"] + means["sharp"] + means["words"]
        return {"loss": loss, **{name: value for name, value in means.items() if name.endswith("accuracy")}}
