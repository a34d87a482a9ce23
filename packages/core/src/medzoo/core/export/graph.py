"""A model with what stands before and after it, from an image of any size to its answer, as one module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medzoo.core.errors import ConfigError
from medzoo.core.export.answers import ANSWERS, Answer
from medzoo.core.export.resize import Fit
from medzoo.core.files.predict import Predictor
from medzoo.core.runs.checkpoint_io import read_checkpoint
from medzoo.core.runs.saved import saved


class Graph(nn.Module):
    """Images in [0, 1] of one size, whatever it is, to the answer of the task in their geometry.

    Args:
        predictor: The model, and what it was trained to see.

    Attributes:
        answer: How the outputs of the task are named.
        size: Height and width that the network sees.
        channels: 1 for grey images, 3 for colour.
        pad: Whether images keep their shape.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.model, self.source = predictor.model, predictor.source
        self.answer: Answer = ANSWERS[predictor.spec.task]
        self.channels = self.answer.channels(self.model)
        self.size = predictor.reader({}).size
        self.pad = predictor.settings.get("resize") == "pad"
        self.fit = Fit(self.size, self.pad)

    def batch(self, image: Tensor) -> dict[str, Any]:
        """Return a batch of the task with images at network size; what is named is its first only, as methods ask."""
        return {"image": image, "source": [self.source], "id": ["image"], "path": [""]}

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the tensors of the task's `Answer` for `(B, C, H, W)`."""
        seen, scale, shift = self.fit(image)
        outputs = self.model.outputs(self.batch(seen))
        return self.answer.tensors(outputs, image, lambda points: (points.double() - shift) / scale)

    def example(self, batch: int = 2) -> Tensor:
        """Return a batch to trace with, of another size than the network's."""
        height, width = self.size
        shape = (batch, self.channels, height + 7, width + 13)
        return torch.rand(shape, generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def outputs(self) -> Any:
        """Return the task's outputs for an example; what a method makes at its first batch is then made."""
        return self.model.outputs(self.batch(self.fit(self.example(1))[0]))


def graph_of(weights: str | Path, source: str | None) -> tuple[Graph, Predictor]:
    """Return the graph of a checkpoint or a packed folder, on the CPU, in evaluation mode.

    Raises:
        CheckpointError: The weights cannot be read.
        ConfigError: Models of the task are not exported, or the source is wrong.
    """
    told = saved(read_checkpoint(weights), "model", weights)
    if told is not None and told.spec.task not in ANSWERS:
        tasks = ", ".join(ANSWERS)
        raise ConfigError(f"{weights}: {told.spec.name} is for {told.spec.task}; export is for {tasks}")
    predictor = Predictor(weights, source, "cpu")
    return Graph(predictor).eval(), predictor
