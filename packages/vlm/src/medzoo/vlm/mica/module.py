"""MICA as a Lightning module."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, Never

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from medzoo.core.classifier.losses import labels_loss
from medzoo.core.distributed import print_once
from medzoo.core.errors import ConfigError, check_choice
from medzoo.core.optim.schedules import adamw
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import Evaluation
from medzoo.core.zoo import load_checkpoint
from medzoo.vlm.base import check_least
from medzoo.vlm.images import ImageFeatures
from medzoo.vlm.mica.labels import caption, captioned, part
from medzoo.vlm.mica.losses import alignment, concept_loss
from medzoo.vlm.mica.method import ConceptMethod
from medzoo.vlm.mica.network import (
    SHARPNESS,
    Bottleneck,
    ConceptSpace,
    global_similarity,
    local_similarity,
    look,
    ridge_directions,
)
from medzoo.vlm.mica.report import BottleneckEvaluation, BottleneckOutputs
from medzoo.vlm.text.encoder import TextFeatures

ALIGNED = "aligned.ckpt"


class MICA(ConceptMethod):
    """MICA (AAAI 2024): images are aligned with concepts on three levels, then a diagnosis is made of concepts alone.

    Args:
        stage: `align` (images, words and concepts), `bottleneck` (concepts, and diagnoses from them) or `all`.
        aligned: Checkpoint of the first stage; the second needs it.
        diagnoses: Labels of the data that are diagnosed; all others are concepts.
        concepts: Names of the concepts; empty: the other labels of the data.
        channels: Channels of the images; empty: as in the data.
        directions: The directions of the concepts are `fitted` to the features of the image network before it is
            trained, as in the paper, or `learned`.
        leave_out_same: A caption that another image of the batch has too is not wrong for it.
        local_weight: Weight of the loss of words and patches.
        concept_weight: Weight of the loss of concepts.
        words: Words of a caption, with the pieces that begin and end it.
        prompts: Preset by which names of classes become sentences.
        lr: Highest learning rate of AdamW; it rises over a tenth of the steps and falls to 0 by a cosine.
        epochs: Epochs of the first stage.
        batch: Images a batch.
        bottleneck_lr: Learning rate of the second stage.
        bottleneck_epochs: Its epochs.
        corrected: Part of the concepts that are replaced by the truth where diagnoses are learnt; the paper's is 0.
        kwargs: Options of all methods of image and text.
    """

    stages: ClassVar[tuple[str, ...]] = ("align", "bottleneck")
    prefixes: ClassVar[dict[str, str]] = {"bottleneck": "bottleneck_"}

    def __init__(
        self,
        stage: str = "all",
        aligned: str | None = None,
        diagnoses: list[str] | None = None,
        concepts: list[str] | None = None,
        channels: int | None = None,
        directions: str = "fitted",
        leave_out_same: bool = False,
        local_weight: float = 1.0,
        concept_weight: float = 1.0,
        words: int = 20,
        prompts: str = "name",
        lr: float = 5e-5,
        epochs: int = 50,
        batch: int = 32,
        bottleneck_lr: float = 1e-4,
        bottleneck_epochs: int = 100,
        corrected: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(words=words, prompts=prompts, lr=lr, epochs=epochs, batch=batch, **kwargs)
        check_choice("model.stage", stage, ("all", *self.stages))
        check_choice("model.directions", directions, ("fitted", "learned"))
        check_least(corrected=(corrected, 0))
        self.stage = stage
        self.space: ConceptSpace | None = None
        self.bottleneck: Bottleneck | None = None
        if concepts is not None:
            self.build()

    def build(self) -> None:
        """Make what depends on the labels."""
        h = self.hparams
        self.space = ConceptSpace(len(h["concepts"]), h["width"], h["words"], h["directions"] == "learned")
        if self.stage == "bottleneck":
            self.bottleneck = Bottleneck(h["width"], len(h["concepts"]), len(h["diagnoses"] or ()))

    def setup(self, stage: str) -> None:
        """Fit the directions of the concepts, or start the bottleneck on the aligned encoders."""
        super().setup(stage)
        assert self.space is not None
        if stage != "fit" or self.data is None:
            return
        if self.bottleneck is None:
            if self.hparams["directions"] == "fitted":
                self.space.fill(*ridge_directions(*self.features_of_training()))
            return
        if not self.hparams["aligned"]:
            raise ConfigError("--model.aligned: the bottleneck needs the checkpoint of the stage align; give it")
        if not self.hparams["diagnoses"]:
            raise ConfigError("--model.diagnoses: nothing is to be diagnosed; name labels of the data")
        first = load_checkpoint(self.hparams["aligned"])
        if not isinstance(first, MICA) or first.hparams["concepts"] != self.hparams["concepts"]:
            raise ConfigError(f"--model.aligned: {self.hparams['aligned']} is of another model or of other concepts")
        missing, _ = self.load_state_dict(first.state_dict(), strict=False)
        assert all(name.startswith("bottleneck.") for name in missing)
        print_once(f"the bottleneck starts from {self.hparams['aligned']}")
        self.requires_grad_(False)
        self.bottleneck.requires_grad_(True)

    def on_train_start(self) -> None:
        """Keep frozen encoders in evaluation mode, in the middle of a resumed epoch too."""
        if self.bottleneck is not None:
            self.eval()
            self.bottleneck.train()

    def on_train_epoch_start(self) -> None:
        """Keep frozen encoders in evaluation mode."""
        self.on_train_start()

    def hand_over(self, folder: Path) -> dict[str, object]:
        """Write the aligned model to `aligned.ckpt` for the bottleneck."""
        self.trainer.save_checkpoint(path := folder / ALIGNED)
        h = self.hparams
        return {"aligned": str(path), **{name: h[name] for name in ("concepts", "channels", "network")}}

    def similarity(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return the logits `(images, texts)`, the mean of that of the wholes and that of words and patches."""
        looks = look(image.tokens, text.tokens, text.mask)
        return (global_similarity(image.globals, text.globals) + local_similarity(looks, text.tokens, text.mask)) / 2

    def attention_maps(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return how much the words of each text look at each patch, `(images, texts, rows, columns)`."""
        attention = look(image.tokens, text.tokens, text.mask).attention
        mean = (attention * text.mask[None, :, :, None]).sum(2) / text.mask.sum(1)[None, :, None]
        found: Tensor = mean.unflatten(2, image.grid)
        return found

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Take one batch of images with their labels."""
        h, image = self.hparams, self.encode_image(batch["image"])
        concepts = self.concepts_of(batch)
        if self.bottleneck is not None:
            found, answers = self.bottleneck(image.globals, concepts, h["corrected"])
            diagnoses = part(batch["label"], self.data.classes, h["diagnoses"])
            named, diagnosed = labels_loss(found, concepts), labels_loss(answers, diagnoses)
            self.log_dict({"train/loss": named + diagnosed, "train/concepts": named, "train/diagnoses": diagnosed})
            return named + diagnosed
        image, concepts = captioned(image, concepts)
        if not len(concepts):
            return image.globals.sum() + image.tokens.sum()  # 0, with gradients
        captions = [caption(h["concepts"], row) for row in concepts.tolist()]
        text = self.encode_text(captions)
        same = torch.tensor([[one == other for other in captions] for one in captions], device=self.device)
        left_out = same if h["leave_out_same"] else None
        looks = look(image.tokens, text.tokens, text.mask)
        whole = alignment(global_similarity(image.globals, text.globals), left_out)
        local = alignment(SHARPNESS[2] * local_similarity(looks, text.tokens, text.mask), left_out)
        assert self.space is not None
        # The mean over all captions of the batch asks each image the same, as in the public code.
        named = concept_loss(self.space(looks.contexts.mean(1)), concepts)
        loss: Tensor = whole + h["local_weight"] * local + h["concept_weight"] * named
        self.log_dict({"train/loss": loss, "train/whole": whole, "train/local": local, "train/concepts": named})
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with warm-up and cosine decay, at the rate of the stage."""
        return adamw(self, self.stage_hparam("lr"))

    def outputs(self, batch: Batch) -> Any:
        """Return logits of the diagnoses with concepts beside them; in the first stage of concepts by their names."""
        if self.bottleneck is None:
            return super().outputs(batch)
        concepts, answers = self.bottleneck(self.encode_image(batch["image"]).globals)
        h = self.hparams
        return BottleneckOutputs(answers, tuple(h["diagnoses"]), True, concepts, tuple(h["concepts"]))

    def new_evaluation(self, stage: Literal["validate", "test"]) -> Evaluation[Never]:
        """Return an evaluation of diagnoses, concepts and interventions; in the first stage of concepts alone."""
        if self.bottleneck is None:
            return super().new_evaluation(stage)
        h, spread, diagnose = self.hparams, stage == "test", self.bottleneck.diagnose
        return BottleneckEvaluation(self.data.classes, h["concepts"], h["diagnoses"], diagnose, spread)
