"""XCoOp as a Lightning module."""

from __future__ import annotations

from typing import Any, Literal, Never

import torch
from lightning.pytorch.utilities.types import STEP_OUTPUT, OptimizerLRScheduler
from torch import Tensor, nn

from medzoo.core.classifier.losses import classes_loss, labels_loss
from medzoo.core.optim.schedules import cosine_decay
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import Evaluation
from medzoo.core.tasks.classification import model_labels
from medzoo.vlm.base import check_least
from medzoo.vlm.text.encoder import TextFeatures
from medzoo.vlm.text.prompts import clinical_prompts, spoken
from medzoo.vlm.xcoop.losses import prompt_alignment, token_alignment
from medzoo.vlm.xcoop.network import SoftPrompts
from medzoo.vlm.xcoop.report import PromptEvaluation, nearest_words
from medzoo.vlm.xcoop.staged import OnImageText


class XCoOp(OnImageText):
    """XCoOp (MICCAI 2024): prompts of a frozen model are learnt from labels and kept near clinical words.

    Args:
        context: Words that the prompts of a class begin with, before they are learnt.
        denied: Those of its absence, where several labels may hold at once.
        count: Prompts of a class, N.
        noise: What sets them apart at the start; 0, as in the public code, leaves all of a class the same.
        clinical: YAML file of each class's description, as of `medzoo zero-shot --prompts`; empty: «There is X».
        prompt_weight: Weight of the alignment of whole prompts.
        token_weight: Weight of the alignment of their pieces.
        scale: What the alignments' cosines are multiplied by.
        blur: Standard deviation of noise that half of the steps add to the clinical features.
        norms: Train the layer norms of the image network too, at a tenth of the rate.
        lr: Highest learning rate of SGD; it rises over a tenth of the steps and falls to 0 by a cosine.
        kwargs: Options of stages and backbone.
    """

    def __init__(
        self,
        context: str = "a photo of a",
        denied: str = "a photo of no",
        count: int = 4,
        noise: float = 0.02,
        clinical: str | None = None,
        prompt_weight: float = 5.0,
        token_weight: float = 5.0,
        scale: float = 100.0,
        blur: float = 0.05,
        norms: bool = True,
        lr: float = 0.032,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_least(count=(count, 1), noise=(noise, 0), prompt_weight=(prompt_weight, 0), blur=(blur, 0))
        check_least(token_weight=(token_weight, 0), scale=(scale, 0))
        self.soft: SoftPrompts | None = None
        self._encoded: TextFeatures | None = None
        if self.hparams["network"] is not None:
            self._build()

    def setup(self, stage: str) -> None:
        """Take the classes from the data, and begin the prompts with words.

        Raises:
            ConfigError: The data have no classes, a class has no description, or a prompt is too long.
        """
        super().setup(stage)
        if self.trains_backbone or self.soft is not None:
            return
        h, (classes, several) = self.hparams, self.given
        prompts = clinical_prompts(h["clinical"], self.subject.hparams["prompts"], classes, several)
        sentences = [list(p.positive) for p in prompts] + [list(p.negative) for p in prompts if several]
        h["network"] = {"classes": list(classes), "multi_label": several, "clinical": sentences}
        self._build()

    def _build(self) -> None:
        """Make the soft prompts of the classes, and of their absences where several may hold at once."""
        h, known, subject = self.hparams, self.hparams["network"], self.subject
        begins = [h["context"], h["denied"]] if known["multi_label"] else [h["context"]]
        texts = [f"{begin} {spoken(name)}" for begin in begins for name in known["classes"]]
        subject.check_text([*texts, *(text for own in known["clinical"] for text in own)], "--model.context")
        tokens = subject.tokens(texts)
        lengths = [int((subject.tokens([begin]).words >= 0).sum()) - 2 for begin in begins]
        each = [length for length in lengths for _ in known["classes"]]
        self.soft = SoftPrompts(subject.embeddings, tokens.ids, tokens.words, each, h["count"], h["noise"])

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """SGD with warm-up and cosine decay; layer norms of the image network learn a tenth as fast."""
        if self.trains_backbone:
            return super().configure_optimizers()
        assert self.soft is not None
        norms = [m for m in self.subject.image.modules() if isinstance(m, nn.LayerNorm) and self.hparams["norms"]]
        trained = [p.requires_grad_(True) for m in norms for p in m.parameters()]
        lr = self.hparams["lr"]
        groups = [{"params": list(self.soft.parameters())}, {"params": trained, "lr": lr / 10}]
        return cosine_decay(self, torch.optim.SGD([g for g in groups if g["params"]], lr, momentum=0.9))

    def prompts(self) -> tuple[Tensor, TextFeatures]:
        """Return the vectors `(N, K, T, d)` of the soft prompts, and their features, N·K texts."""
        assert self.soft is not None, "the classes are not known yet; attach data"
        vectors = self.soft(self.subject.embeddings)
        words = self.soft.words.repeat(self.soft.count, 1)
        return vectors, self.subject.encode_vectors(vectors.flatten(0, 1), words)

    def logits(self, image: Tensor, texts: TextFeatures) -> Tensor:
        """Return `(B, C)`: the mean over the prompts of a class; of several labels, presence less absence."""
        assert self.soft is not None
        similar = self.subject.similarity(self.subject.encode_image(image), texts)
        mean: Tensor = similar.unflatten(1, (self.soft.count, -1)).mean(1)
        if self.hparams["network"]["multi_label"]:
            there, not_there = mean.chunk(2, dim=1)
            mean = there - not_there
        return mean

    def train(self, mode: bool = True) -> XCoOp:
        """Set the mode, and forget the encoded prompts."""
        self._encoded = None
        super().train(mode)
        return self

    def outputs(self, batch: Batch) -> Any:
        """Return the logits of a batch, with gradients to its images."""
        if self.trains_backbone:
            return super().outputs(batch)
        if self._encoded is None or self.training:
            with torch.no_grad():
                self._encoded = self.prompts()[1]
        return self.answer(self.logits(batch["image"], self._encoded))

    def training_step(self, batch: Batch, batch_idx: int) -> STEP_OUTPUT:
        """Take one batch: labels, and both alignments."""
        if self.trains_backbone:
            return super().training_step(batch, batch_idx)
        h = self.hparams
        vectors, texts = self.prompts()
        outputs = self.answer(self.logits(batch["image"], texts))
        label = model_labels(batch["label"], outputs, *self.given)
        image = (labels_loss if outputs.multi_label else classes_loss)(outputs.logits, label)
        whole, pieces = self.clinical()
        if torch.rand(()) < 0.5:
            whole = whole + h["blur"] * torch.randn_like(whole)
        soft = texts.globals.unflatten(0, (h["count"], -1)).mean(0)
        prompt = prompt_alignment(soft, whole, h["scale"])
        token = token_alignment(vectors.mean(0), pieces, h["scale"])
        loss: Tensor = image + h["prompt_weight"] * prompt + h["token_weight"] * token
        self.log_dict({"train/loss": loss, "train/image": image, "train/prompt": prompt, "train/token": token})
        return loss

    @torch.no_grad()
    def clinical(self) -> tuple[Tensor, Tensor]:
        """Return unit features `(K, d)` of the clinical descriptions, and embeddings `(K, T, d)` of their pieces.

        Of several sentences the features are averaged, and the pieces are those of the first.
        """
        sentences, subject = self.hparams["network"]["clinical"], self.subject
        each = [nn.functional.normalize(subject.encode_text(own).globals, dim=-1).mean(0) for own in sentences]
        tokens = subject.tokens([own[0] for own in sentences])
        pieces = subject.embeddings[tokens.ids.to(self.device)] * (tokens.words >= 0)[..., None].to(self.device)
        return nn.functional.normalize(torch.stack(each), dim=-1), pieces

    def new_evaluation(self, stage: Literal["validate", "test"]) -> Evaluation[Never] | None:
        """Return an evaluation on the classes of the data; a test has intervals and a table of the prompts."""
        if self.trains_backbone:
            return super().new_evaluation(stage)
        assert self.soft is not None
        assert self.subject.tokenizer is not None
        vocabulary = self.subject.tokenizer.vocabulary
        rows = nearest_words(self.soft, self.subject.embeddings, vocabulary, self.hparams["network"]["classes"])
        return PromptEvaluation(rows, *self.given, spread=stage == "test")
