"""Does a written graph answer as medzoo does? Measured on images of many odd sizes, alone and three in a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medzoo.core.errors import DataError
from medzoo.core.export.answers import distance, flips
from medzoo.core.export.graph import Graph
from medzoo.core.geometry import fit_affine, resample, resize_affine
from medzoo.core.geometry.points import to_original
from medzoo.core.io import read_image
from medzoo.core.tasks.anomaly import AnomalyOutputs, enlarged

SIZES = 20
"""Sizes that are looked at, at least."""
_LEAST = 32  # pixels a side of an image, so that its parts have many sizes

Run = Callable[[Tensor], dict[str, Tensor]]
"""Answers `(B, C, H, W)`."""


def runner(path: Path, names: Sequence[str]) -> Run:
    """Return a file as a function: of ONNX by onnxruntime, of .pt2 by torch."""
    if path.suffix == ".pt2":
        program = torch.export.load(path).module()

        def answered(image: Tensor) -> dict[str, Tensor]:
            with torch.no_grad():
                found: dict[str, Tensor] = program(image)
            return found

        return answered
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda image: {
        name: torch.from_numpy(np.asarray(value))
        for name, value in zip(names, session.run(list(names), {"image": image.numpy()}), strict=True)
    }


@torch.no_grad()
def expected(graph: Graph, image: Tensor) -> dict[str, Tensor]:
    """Return what the model itself gives for `(B, C, H, W)`, brought to its size and back by medzoo's own geometry."""
    size = (image.shape[3], image.shape[2])
    affine = (fit_affine if graph.pad else resize_affine)(size, graph.size[::-1])
    names = [str(number) for number in range(len(image))]
    seen = resample(image, affine, graph.size[::-1])
    batch = {"image": seen, "source": [graph.source] * len(image), "id": names, "path": names}
    outputs = graph.model.outputs(batch)
    maps = torch.from_numpy(affine).expand(len(image), 2, 3)
    found = graph.answer.tensors(outputs, image, lambda points: to_original(points, maps))
    if isinstance(outputs, AnomalyOutputs):
        found["maps"] = torch.stack([enlarged(heat, image.shape[-2:]) for heat in outputs.maps])
    return found


def compared(graph: Graph, run: Run, images: Iterator[Tensor], facts: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return for each output the largest difference and the number of other decisions.

    Args:
        graph: What was written.
        run: The file, see `runner`.
        images: `(C, H, W)` each; each is given alone, and with its two mirror images.
        facts: What the file says of the answers.
    """
    table: dict[str, dict[str, Any]] = {}
    for image in images:
        for batch in (image[None], torch.stack([image, image.flip(-1), image.flip(-2)])):
            ours, theirs = expected(graph, batch), run(batch)
            for name, value in ours.items():
                row = table.setdefault(name, {"difference": 0.0, "flips": 0, "allowed": 0.0})
                row["difference"] = max(row["difference"], distance(name, value, theirs[name]))
                row["flips"] += flips(name, value, theirs[name], facts)
                row["allowed"] = graph.answer.tolerance.get(name, 0.0)
    return table


def odd_sizes(files: Sequence[str], channels: int) -> Iterator[Tensor]:
    """Yield the images of files as they are, then parts of them with odd sides, until there are `SIZES`.

    Args:
        files: Images.
        channels: 1 for grey, 3 for colour.

    Raises:
        DataError: A file is no image with values in [0, 1].
    """
    count = -(-SIZES // len(files))
    rng = np.random.default_rng(0)
    for path in files:
        image = _read(path, channels)
        yield image
        for _ in range(count):
            height, width = (int(rng.integers(_LEAST // 2, side)) // 2 * 2 - 1 for side in image.shape[1:])
            yield image[:, :height, :width]


def _read(path: str, channels: int) -> Tensor:
    image = read_image(path, "rgb" if channels == 3 else "grey")
    array = image.array
    if len(image.spacing) != 2:
        raise DataError(path, "is a volume, expected one image", "give two-dimensional images")
    if min(array.shape[-2:]) < _LEAST or array.min() < 0 or array.max() > 1:
        problem = f"is not an image of {_LEAST} pixels a side or more with values in [0, 1]"
        raise DataError(path, problem, "give images such as those of the training")
    return torch.from_numpy(np.ascontiguousarray(array.reshape(channels, *array.shape[-2:]), np.float32))
