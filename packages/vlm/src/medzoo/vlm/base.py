"""What all methods that learn from images with reports share: the options of both networks, checks, the optimiser."""

from __future__ import annotations

from typing import Any, ClassVar

from lightning.pytorch.utilities.types import OptimizerLRScheduler

from medzoo.core.errors import ConfigError, check_choice
from medzoo.core.method import Method
from medzoo.core.optim.schedules import adamw
from medzoo.vlm.processor import FITS, Processor, ReportWants


class ReportMethod(Method):
    """A method with an image network of timm and a BERT; a subclass hands these options on as `**kwargs`.

    Args:
        backbone: Image network of timm, such as vit_base_patch16_224 or resnet50.
        weights: File with weights of it; empty: random ones. Nothing is downloaded.
        size: Height and width of the images, one number for a square.
        fit: How images of another shape are brought to size: stretch, pad with black, or crop.
        mean: Mean grey level, in [0, 1].
        spread: Standard deviation of the grey levels.
        width: Size of all features.
        text_layers: Layers of the small BERT.
        pieces: Most pieces of its vocabulary, which is made of the reports.
        words: Most words of a text, with the pieces that begin and end it.
        sentences: Sentences of an image that are drawn in each epoch.
        lr: Highest learning rate of AdamW; it rises over a tenth of the steps and falls to 0 by a cosine.
        epochs: Epochs.
        steps: Steps instead of epochs.
        batch: Images a batch, each with its text.
        network: What a checkpoint keeps of text encoder and classes; empty for a new model.
    """

    processor: Processor
    of_weights: ClassVar[tuple[str, ...]] = ("network",)

    def __init__(
        self,
        backbone: str = "vit_base_patch16_224",
        weights: str | None = None,
        size: int | list[int] = [224, 224],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        fit: str = "stretch",
        mean: float = 0.5,
        spread: float = 0.5,
        width: int = 768,
        text_layers: int = 12,
        pieces: int = 8000,
        words: int = 77,
        sentences: int = 1,
        lr: float = 5e-5,
        epochs: int = 15,
        steps: int | None = None,
        batch: int = 128,
        network: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        check_choice("model.fit", fit, FITS)
        check_least(width=(width, 1), words=(words, 3), sentences=(sentences, 1))
        if not spread > 0:
            raise ConfigError(f"--model.spread: expected more than 0, got {spread}")

    def wants(self) -> ReportWants:
        """Images of the processor's size with sentences; no label is trained on."""
        h = self.hparams
        return ReportWants(
            self.processor.size, int(h["batch"]), processor=self.processor, sentences=int(h["sentences"])
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with warm-up and cosine decay."""
        return adamw(self, self.hparams["lr"])


def check_least(**options: tuple[float, float]) -> None:
    """Refuse an option of a model that is smaller than its least value.

    Args:
        options: Value and least value by the option's name.

    Raises:
        ConfigError: One is.
    """
    for name, (value, least) in options.items():
        if not value >= least:
            raise ConfigError(f"--model.{name}: expected at least {least}, got {value}")
