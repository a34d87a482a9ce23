"""An image model of the package anomalib as a LightningModule of medzoo; needs that package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medzoo.anomaly.images.fewshot import FewShot
from medzoo.anomaly.images.scores import Rule
from medzoo.core.errors import ConfigError, first_line

_PIECE = 32  # images through the network at a time


class AnomalibModel(FewShot[Any]):
    """Runs a model of anomalib that learns in one pass over normal images, such as Padim or Patchcore.

    Only the network is anomalib's. Images, supports, metrics, thresholds and files are medzoo's; its scaling of scores
    to [0, 1] is left out, since it ties scores before they are ranked.

    Args:
        detector: Class in `anomalib.models`.
        options: Its own arguments.
        size: Height and width of the images, one number for a square.
        batch: Images a batch.
        false_alarms: Share of normal images that the threshold may call abnormal.
        score: How an image's score is made: "max" leaves it to the detector, whatever that takes; "p95" and "mean" are
            of its map.

    Raises:
        ConfigError: anomalib is not installed, has no such class, or the class trains by gradient or refuses its
            arguments.
    """

    def __init__(
        self,
        detector: str = "Padim",
        options: dict[str, Any] | None = None,
        size: int | list[int] = [256, 256],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        batch: int = 16,
        false_alarms: float = 0.05,
        score: Rule = "max",
    ) -> None:
        super().__init__(size, batch, 0.0, false_alarms, score)
        self.save_hyperparameters()
        self.detector, self.options = detector, dict(options or {})
        self._build()  # so that a slip is told now

    def _build(self) -> Any:
        """Make a fresh detector."""
        kind = _class(self.detector)
        without = dict.fromkeys(("post_processor", "evaluator", "visualizer"), False)
        before = kind.configure_pre_processor(image_size=self.size)
        with _seeded():
            try:
                return kind(**{**self.options, **without, "pre_processor": before})
            except Exception as error:  # whatever its arguments or a failed download lead to
                raise ConfigError(f"options: {self.detector} refuses: {first_line(error)}") from error

    @torch.no_grad()
    def reference(self, supports: Tensor) -> Any:
        """Show the supports to a fresh detector."""
        batch = import_module("anomalib.data").ImageBatch
        made = self._build().to(supports.device).train()
        with _seeded():  # the projections and subsets that some detectors draw
            for piece in supports.split(_PIECE):
                made.training_step(batch(image=made.pre_processor(piece)), 0)
            made.fit()
        return made.eval()

    def coarse_scores(self, reference: Any, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the detector's score maps and image scores, both as they are before any scaling."""
        found = reference.model(reference.pre_processor(images))
        if found.anomaly_map is None:
            raise ConfigError(f"detector: {self.detector} gives no score maps")
        return found.anomaly_map.squeeze(1), found.pred_score.reshape(len(images))  # some give (B, 1)


@contextmanager
def _seeded() -> Iterator[None]:
    """Give torch and NumPy, whose global state anomalib's projections use, the same random numbers each time."""
    state = np.random.get_state()  # noqa: NPY002 - the global state is the point
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002


def _class(name: str) -> Any:
    try:
        models = import_module("anomalib.models")
    except ImportError as error:
        raise ConfigError(
            f"anomalib cannot be imported ({first_line(error)}); pip install 'medzoo-anomaly[anomalib]'"
        ) from error
    bank = models.components.MemoryBankMixin
    kind = getattr(models, name, None)
    if not (isinstance(kind, type) and issubclass(kind, bank)):
        known = sorted(
            key for key, value in vars(models).items() if isinstance(value, type) and issubclass(value, bank)
        )
        raise ConfigError(f"detector: expected one of {', '.join(known)}, got {name}")
    return kind
