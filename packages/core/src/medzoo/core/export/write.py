"""From a module to a file: torch's export, and ONNX of it; what one has to know goes along."""

from __future__ import annotations

import json
import logging
import traceback
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from medzoo.core.errors import ConfigError, first_line
from medzoo.core.export.graph import Graph
from medzoo.core.files.predict import Predictor
from medzoo.core.files.verb import NOTICE, weights_sha256
from medzoo.core.io import replacing

NEEDED = ("onnx", "onnxruntime", "onnxscript")
TOLD = "medzoo"
"""Key of the description in the metadata of an ONNX file; in a .pt2 it is the extra file `medzoo.json`."""


def require_onnx() -> None:
    """Refuse where a package that ONNX needs is not installed.

    Raises:
        ConfigError: One is missing.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(f"--format onnx: needs {', '.join(missing)}; pip install 'medzoo-core[export]'")


def description(graph: Graph, predictor: Predictor, weights: str) -> dict[str, Any]:
    """Return what a user of the file has to know: input, outputs, names, thresholds, and what it was made of."""
    answer, outputs = graph.answer, graph.outputs()
    colour = "grey" if graph.channels == 1 else "red, green, blue"
    given = answer.tensors(outputs, graph.example(1), lambda points: points)
    return {
        "schema": "medzoo.export/1",
        "model": predictor.spec.name,
        "medzoo": version("medzoo-core"),
        "model_sha256": weights_sha256(weights),
        "task": predictor.spec.task,
        "source": graph.source,
        "input": {
            "image": f"(batch, {graph.channels}, height, width) float32, {colour}, from 0 (black) to 1; any height and "
            "width, images of a batch alike"
        },
        "outputs": {name: answer.texts[name] for name in given},
        "facts": answer.facts(outputs),
        "inside": {"size": list(graph.size), "resize": "pad" if graph.pad else "stretch"},
        "allowed": {name: value for name, value in answer.tolerance.items() if name in given},
        "notice": NOTICE,
    }


def write(graph: Graph, path: Path, kind: str, about: Mapping[str, Any]) -> None:
    """Trace a graph and write it.

    Args:
        graph: As `graph_of` makes it.
        path: The file.
        kind: Its format, `onnx` or `pt2`.
        about: What a user of the file has to know.

    Raises:
        ConfigError: A step of the model is not one of a graph.
    """
    text = json.dumps(about)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        for name in ("torch.onnx", "onnxscript", "onnx_ir"):
            logging.getLogger(name).setLevel(logging.ERROR)
        program = traced(graph, str(about["model"]))
        if kind == "pt2":
            with replacing(path) as part:
                torch.export.save(program, part.with_suffix(".pt2"), extra_files={"medzoo.json": text})
                part.with_suffix(".pt2").replace(part)
            return
        try:
            onnx = torch.onnx.export(program, dynamo=True, verbose=False, output_names=list(about["outputs"]))
        except Exception as error:
            raise ConfigError(
                f"{about['model']} cannot be exported to ONNX: {_why(error)}; try --format pt2"
            ) from error
    assert onnx is not None
    onnx.model.metadata_props[TOLD] = text
    with replacing(path) as part:
        onnx.save(str(part))


def traced(graph: Graph, name: str) -> torch.export.ExportedProgram:
    """Return the graph for any batch, height and width.

    Raises:
        ConfigError: A step of the model is not one of a graph; the message names it.
    """
    batch, height, width = (torch.export.Dim(side, min=1) for side in ("batch", "height", "width"))
    shapes = {"image": {0: batch, 2: height, 3: width}}
    graph.outputs()
    try:
        return torch.export.export(graph, (graph.example(),), dynamic_shapes=shapes, strict=False)
    except Exception as error:
        raise ConfigError(f"{name} cannot be exported: {_why(error)}") from error


def _why(error: BaseException) -> str:
    """Return the last step of medzoo's that an error came from, and the error's first line."""
    steps = [frame for frame in traceback.extract_tb(error.__traceback__) if "medzoo" in Path(frame.filename).parts]
    own = [frame for frame in steps if "export" not in Path(frame.filename).parts]
    place = f"{Path(own[-1].filename).name}:{own[-1].lineno} ({own[-1].name}) is not a step of a graph: " if own else ""
    return place + first_line(error)[:200]
