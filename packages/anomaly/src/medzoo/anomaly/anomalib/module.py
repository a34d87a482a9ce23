"""An image model of the package anomalib as a LightningModule of medzoo; it runs in an environment of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medzoo.anomaly.anomalib.process import Worker
from medzoo.anomaly.images.fewshot import FewShot
from medzoo.anomaly.images.scores import Rule
from medzoo.core.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Fitted:
    """A detector that was shown `supports` (K, 3, H, W); it lives in the other process while it is the last one."""

    supports: Tensor


class AnomalibModel(FewShot[Fitted]):
    """Runs a model of anomalib that learns in one pass over normal images, such as Padim or Patchcore.

    Only the network is anomalib's. Images, supports, metrics, thresholds and files are medzoo's; its scaling of scores
    to [0, 1] is left out, since it ties scores before they are ranked. Its requirements and medzoo's exclude each
    other, so it runs in a process of another Python, which the environment variable MEDZOO_ANOMALIB_PYTHON names.

    Args:
        detector: Class in `anomalib.models`.
        options: Its own arguments.
        size: Height and width of the images, one number for a square.
        batch: Images a batch.
        false_alarms: Share of normal images that the threshold may call abnormal.
        score: How an image's score is made: "max" leaves it to the detector, whatever that takes; "p95" and "mean" are
            of its map.
        limit: Seconds that anomalib may take for one answer: its start, a fit, the scores of a batch.

    Raises:
        ConfigError: No environment with anomalib is named, it has no such class, or the class trains by gradient or
            refuses its arguments.
    """

    def __init__(
        self,
        detector: str = "Padim",
        options: dict[str, Any] | None = None,
        size: int | list[int] = [256, 256],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        batch: int = 16,
        false_alarms: float = 0.05,
        score: Rule = "max",
        limit: float = 600.0,
    ) -> None:
        super().__init__(size, batch, 0.0, false_alarms, score)
        self.save_hyperparameters()
        if not 0 < limit <= 86400:
            raise ConfigError(f"--model.limit: expected seconds, more than 0 and at most a day, got {limit:g}")
        for text in _texts(options or {}):
            if ":" in text:  # timm reads hf-hub:NAME from a server and local-dir:PATH from any folder
                raise ConfigError(f"--model.options: {text[:100]} is a place; expected the name of a network")
        self.made = {"detector": detector, "options": options or {}, "size": list(self.size)}
        self.worker = Worker(limit)
        self.worker.ask("build", **self.made)  # so that a slip is reported now
        self.last: Fitted | None = None

    def reference(self, supports: Tensor) -> Fitted:
        """Show the supports to a fresh detector."""
        fitted = Fitted(supports)
        self._show(fitted)
        return fitted

    def _show(self, fitted: Fitted) -> None:
        self.last = None
        number = self.worker.send(_array(fitted.supports))
        self.worker.ask("fit", number=number, device=str(fitted.supports.device), **self.made)
        self.worker.forget(number)
        self.last = fitted

    def coarse_scores(self, reference: Fitted, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the detector's score maps and image scores, both as they are before any scaling."""
        if (
            reference is not self.last
        ):  # another was fitted in between; what it draws is seeded, so this is the same again
            self._show(reference)
        number = self.worker.send(_array(images))
        self.worker.ask("score", number=number)
        maps, scores = (torch.from_numpy(part).to(images.device) for part in self.worker.received(number))
        return maps, scores


def _array(images: Tensor) -> NDArray[np.float32]:
    return images.detach().float().cpu().numpy()


def _texts(value: object) -> list[str]:
    """Return all texts in a nest of dictionaries and lists."""
    if isinstance(value, dict):
        return [text for part in value.values() for text in _texts(part)]
    if isinstance(value, list | tuple):
        return [text for part in value for text in _texts(part)]
    return [value] if isinstance(value, str) else []
