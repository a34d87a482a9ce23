"""What all methods of image and text share: both encoders, prompts that are encoded once, evaluation, thresholds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Never, cast

import torch
from torch import Tensor, nn

from medzoo.core.backbones.pretrained import start_from
from medzoo.core.backbones.weights import load_weights
from medzoo.core.distributed import print_once
from medzoo.core.errors import ConfigError, check_choice
from medzoo.core.sample import Batch
from medzoo.core.sides import sides
from medzoo.core.tasks.base import Evaluation, Prediction
from medzoo.vlm.base import ReportMethod, check_least
from medzoo.vlm.images import ImageEncoder, ImageFeatures
from medzoo.vlm.processor import Processor
from medzoo.vlm.scoring import Scorer
from medzoo.vlm.task import ZeroShotEvaluation, ZeroShotOutputs, ZeroShotRecord, predictions, write_predictions
from medzoo.vlm.text.encoder import TextEncoder, TextFeatures, TextSettings, check_texts, load_bert, read_folder
from medzoo.vlm.text.prompts import from_preset, presets
from medzoo.vlm.text.wordpiece import Tokens, WordPiece, build_vocabulary

_UNKNOWN = 1e30
"""Threshold of a class that the validation images tell nothing of; a checkpoint holds finite values alone."""


class ImageTextMethod(ReportMethod):
    """A method that compares images with texts by an image network of timm and a BERT.

    A subclass takes options of its own and `**kwargs`, which it hands on; defines `similarity`, `attention_maps` and a
    training step; and makes what it needs besides both encoders after `super().__init__`. `network` is what a
    checkpoint keeps: sizes and vocabulary of the text encoder, and the classes of thresholds.

    Args:
        zoom: With pad, the longest side is so many times the network's, and the rest is cut.
        stride: Pixels of a patch, of a convolutional network.
        text: Local Hugging Face folder of a BERT; empty: a small one whose vocabulary is made of the reports.
        mask_padding: Leave out places without a word.
        prompts: Preset by which names of classes become sentences.
        candidates: Most reports among which a validation or test looks for each image's own.
        kwargs: Options of all methods that learn from images with reports.
    """

    monitor: ClassVar[str] = "val/recall"
    monitor_mode: ClassVar[str] = "max"
    thresholds: Tensor

    def __init__(
        self,
        zoom: float = 1.0,
        stride: int = 16,
        text: str | None = None,
        mask_padding: bool = True,
        prompts: str = "carzero",
        candidates: int = 1000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        h = self.hparams
        check_choice("model.prompts", prompts, presets())
        check_least(candidates=(candidates, 1), zoom=(zoom, 1))
        self.processor = Processor(sides("model.size", h["size"]), h["fit"], zoom)
        try:
            self.image = ImageEncoder(h["backbone"], self.processor.size, h["width"], h["mean"], h["spread"], stride)
        except ValueError as error:
            raise ConfigError(f"--model.backbone: {error}") from error
        self.text: TextEncoder | None = None
        self.tokenizer: WordPiece | None = None
        self.project: nn.Module = nn.Identity()
        self.classes: tuple[str, ...] = ()
        self._scorer: Scorer | None = None
        if h["network"] is not None:
            self._build_text(TextSettings(**h["network"]["text"]), h["network"]["classes"])

    def _build_text(self, settings: TextSettings, classes: Sequence[str]) -> None:
        """Make the text encoder, and room for the thresholds of its classes."""
        h = self.hparams
        self.tokenizer = settings.tokenizer()
        try:
            self.text = TextEncoder(settings.bert(), slots=h["words"], masked=h["mask_padding"])
        except ValueError as error:
            raise ConfigError(f"--model.width: {error}") from error
        if settings.bert().width != h["width"]:
            self.project = nn.Linear(settings.bert().width, h["width"])
        h["network"] = {"text": vars(settings) | {"size": dict(settings.size)}}
        self._threshold(classes)

    def _threshold(self, classes: Sequence[str]) -> None:
        """Make room for the thresholds of classes, of which nothing is known yet."""
        self.classes = tuple(classes)
        self.register_buffer("thresholds", torch.full((len(self.classes),), _UNKNOWN, device=self.device))
        self.hparams["network"]["classes"] = list(classes)

    @property
    def preset(self) -> str:
        """The preset by which names of classes become sentences."""
        return str(self.hparams["prompts"])

    @property
    def data(self) -> Any:
        """The data module of the attached trainer."""
        return getattr(self.trainer, "datamodule", None)

    def configure_model(self) -> None:
        """Take the vocabulary from the text encoder's folder, or from the sentences to train on."""
        if self.text is not None:
            return
        h, sentences = self.hparams, self.corpus()
        if h["text"]:
            settings = read_folder(Path(h["text"]))
        else:
            width = int(h["width"])
            vocabulary = build_vocabulary(sentences, int(h["pieces"]))
            sizes = {"width": width, "layers": h["text_layers"], "heads": max(4, width // 64), "inner": 4 * width}
            size = {"vocabulary": len(vocabulary), **sizes, "positions": h["words"], "dropout": 0.1}
            settings = TextSettings(size, vocabulary)
        self._build_text(settings, self.called_classes())

    def corpus(self) -> list[str]:
        """Return the sentences that a vocabulary is made of.

        Raises:
            ConfigError: The data have no reports.
        """
        if not hasattr(self.data, "corpus"):
            raise ConfigError(_no_reports(self.data))
        found: list[str] = self.data.corpus()
        return found

    def called_classes(self) -> Sequence[str]:
        """Return the classes of which validation images give a threshold: those of the data."""
        found: Sequence[str] = self.data.classes
        return found

    def setup(self, stage: str) -> None:
        """Build the text encoder, and start both encoders from the weights that are given."""
        self.configure_model()
        assert self.text is not None
        if stage == "fit" and self.hparams["text"]:
            print_once(load_bert(self.text.bert, Path(self.hparams["text"])))
        if stage == "fit":
            if (
                self.data is not None and tuple(self.called_classes()) != self.classes
            ):  # the model learnt from other data before
                self._threshold(self.called_classes())
            start_from(self.hparams["weights"], lambda given: load_weights(self.image.model, given, "--model.weights"))

    def initial_weights(self, weights: Mapping[str, Tensor], settings: Mapping[str, object]) -> Mapping[str, Tensor]:
        """Leave out the thresholds: they are of the validation images and the weights of that training."""
        del settings
        return {name: value for name, value in weights.items() if name != "thresholds"}

    def encode_image(self, image: Tensor) -> ImageFeatures:
        """Return the features of images `(B, 1, H, W)` in [0, 1]."""
        found: ImageFeatures = self.image(image)
        return found

    @abstractmethod
    def similarity(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return the logits `(images, texts)`, each of its pair alone."""

    @abstractmethod
    def attention_maps(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return where in each image each text is seen, `(images, texts, rows, columns)`."""

    def tokens(self, texts: Sequence[str]) -> Tokens:
        """Return the pieces of texts, at least one, padded to the longest."""
        assert self.text is not None, "the vocabulary is not known yet; attach data"
        assert self.tokenizer is not None
        return self.tokenizer(texts, self.text.limit)

    def check_text(self, texts: Sequence[str], what: str) -> None:
        """Refuse texts of which the model would see nothing, or not all.

        Args:
            texts: At least one.
            what: The option that gave them.

        Raises:
            ConfigError: Such a text.
        """
        check_texts(texts, self.tokens(texts), what)

    def encode_text(self, texts: Sequence[str]) -> TextFeatures:
        """Return the features of texts, at least one."""
        tokens = self.tokens(texts)
        assert self.text is not None
        return self._projected(self.text(tokens.ids.to(self.device), tokens.words.to(self.device)))

    @property
    def embeddings(self) -> Tensor:
        """`(V, width of the BERT)`, the vector of each piece of the vocabulary."""
        assert self.text is not None
        found: Tensor = self.text.bert.embeddings.word_embeddings.weight
        return found

    def encode_vectors(self, vectors: Tensor, words: Tensor) -> TextFeatures:
        """Return the features of texts given as vectors `(B, T, width)` of their pieces, and numbers of their words."""
        assert self.text is not None
        return self._projected(self.text.of_vectors(vectors, words))

    def _projected(self, found: TextFeatures) -> TextFeatures:
        return TextFeatures(self.project(found.globals), self.project(found.tokens), found.mask)

    def _candidates(self, part: str) -> list[str]:
        """Return the reports of a part among which each image's own is looked for, at most `candidates`."""
        if self.data is not None and not hasattr(self.data, "reports"):
            raise ConfigError(_no_reports(self.data))
        found: list[str] = self.data.reports(part) if self.data is not None else []
        return found[: int(self.hparams["candidates"])]

    def _prepare(self, part: str | None) -> None:
        """Encode the prompts of the data's classes, and the reports of a part, once."""
        data = self.data
        classes = tuple(data.classes) if data is not None else self.classes
        reports = self._candidates(part) if part else []
        prompts = from_preset(self.hparams["prompts"], classes) if classes else None
        with torch.no_grad():
            self._scorer = Scorer(self, prompts, [data.sentences_of(text) for text in reports], "labels of the data")

    def on_validation_start(self) -> None:
        """Encode prompts and reports with the weights of now."""
        self._prepare("val")
        super().on_validation_start()

    def on_test_start(self) -> None:
        """Encode prompts and reports."""
        self._prepare("test")
        super().on_test_start()

    def on_predict_start(self) -> None:
        """Encode prompts."""
        self._prepare(None)

    def outputs(self, batch: Batch) -> ZeroShotOutputs:
        """Return the logits of the classes and of the candidate reports, with gradients to the images."""
        assert self._scorer is not None, "the prompts are not known yet; test or predict with a trainer"
        image = self.encode_image(batch["image"])
        affirmed, denied, matched = self._scorer.scores(image)
        prompts = self._scorer.prompts
        names, paired = (prompts.names, prompts.combine == "pair") if prompts else ((), False)
        maps = self._scorer.maps(image) if "boxes" in batch and names else None
        return ZeroShotOutputs(affirmed, names, True, denied, matched, maps, paired)

    def new_evaluation(self, stage: Literal["validate", "test"]) -> Evaluation[Never]:
        """Return an evaluation on the classes and reports of the data; a test has intervals and uses thresholds."""
        part = "test" if stage == "test" else "val"
        classes = self.data.classes if self.data is not None else self.classes
        return ZeroShotEvaluation(
            classes, self._candidates(part), self.cuts if stage == "test" else None, stage == "test"
        )

    @property
    def cuts(self) -> dict[str, float]:
        """The logit from which on a class is called, as the last validation chose it; of others nothing is known."""
        pairs = zip(self.classes, self.thresholds.tolist(), strict=True)
        return {name: cut for name, cut in pairs if abs(cut) < _UNKNOWN / 2}

    def on_validation_epoch_end(self) -> None:
        """Log the figures, and keep the thresholds that are best on these images."""
        evaluation = self.evaluation
        super().on_validation_epoch_end()
        if isinstance(evaluation, ZeroShotEvaluation) and evaluation.classes == self.classes:
            found = torch.from_numpy(evaluation.best_thresholds()).to(self.thresholds)
            self.thresholds.copy_(torch.where(found.isfinite(), found, _UNKNOWN))

    def validation_scores(self, scores: Mapping[str, float | Tensor]) -> dict[str, float | Tensor]:
        """Choose `recall`, the mean of both directions at 10, by which the best epoch is known, and `auroc`."""
        groups = {"recall": ("i2t_r@10", "t2i_r@10"), "auroc": ("auroc",)}
        each = {
            name: [float(v) for key, v in scores.items() if key.rpartition("/")[2] in keys]
            for name, keys in groups.items()
        }
        return {name: sum(values) / len(values) for name, values in each.items() if values}

    def predictions(self, batch: Batch, outputs: ZeroShotOutputs) -> list[Prediction]:
        """Return a record an image."""
        return predictions(batch, outputs, self.cuts)

    def report_predictions(self, records: list[dict[str, object]], folder: Path) -> None:
        """Write `predictions.csv`."""
        write_predictions(cast(list[ZeroShotRecord], records), folder)


def _no_reports(data: object) -> str:
    return f"--data: {type(data).__name__} has no reports; choose report-phantoms or another with reports"
