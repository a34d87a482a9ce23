"""Every registered model of an exported task answers from its file as it does itself, or says why it has none."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from medzoo.core.export.answers import ANSWERS
from medzoo.core.registry import specs

ROOT = Path(__file__).parents[3]
ON_OTHERS = {"aegis", "hfc", "ati-fgsm", "anomalib"}  # attacks on another model; a model of another environment
REFUSED = {
    ("fair-adabn", "onnx"): r"have no skin among",
    ("fair-adabn", "pt2"): r"have no skin among",
    ("normnet", "onnx"): r"is for anomaly segmentation; export is for",
    ("normnet", "pt2"): r"is for anomaly segmentation; export is for",
    ("xcoop", "onnx"): r"is not a step of a graph",
    ("xcoop", "pt2"): r"is not a step of a graph",
    ("regad", "onnx"): r"No ONNX function found for .*linalg_inv",
}
NAMES = sorted({spec.name for spec in specs("model") if spec.task in ANSWERS and spec.package != "medzoo-toy"})


def script() -> ModuleType:
    spec = spec_from_file_location("export_equality", ROOT / "benchmarks/export_equality.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("name", [*(name for name in NAMES if name not in ON_OTHERS), "normnet"])
def test_the_files_of_a_model_answer_as_it_does(name: str, workdir: Path) -> None:
    module = script()
    assert name in module.MODELS, f"give options of a small {name} in benchmarks/export_equality.py"
    for kind, found in module.measured(name, workdir).items():
        if "refused" in found:
            assert (name, kind) in REFUSED, (kind, found)
            assert re.search(REFUSED[name, kind], found["refused"]), found
            continue
        assert (name, kind) not in REFUSED
        wrong: dict[str, Any] = {
            key: row for key, row in found["outputs"].items() if row["difference"] > row["allowed"] or row["flips"]
        }
        assert not wrong, (kind, wrong)
