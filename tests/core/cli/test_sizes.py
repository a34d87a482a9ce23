"""One type of `size` everywhere: a number for equal sides, or one number an axis, for all models and data modules."""

from __future__ import annotations

import inspect
import re
from typing import get_type_hints

import pytest
import yaml

from medzoo.core.cli import main
from medzoo.core.errors import ConfigError
from medzoo.core.registry import Spec, load, specs
from medzoo.core.sides import extents, sides

ALL = [
    spec for kind in ("model", "datamodule", "selector") for spec in specs(kind) if spec.package.startswith("medzoo-")
]
KINDS = (int | list[int], int | list[int] | None)


def sizes(spec: Spec) -> list[str]:
    """Options that tell the size of images or volumes."""
    own = [vars(owner)["__init__"] for owner in load(spec).__mro__ if "__init__" in vars(owner)]
    names = {name for init in own for name in inspect.signature(init).parameters}
    return sorted(name for name in names if re.fullmatch(r"(?!batch_)(\w+_)?size", name))


@pytest.mark.parametrize("spec", [spec for spec in ALL if not spec.missing], ids=lambda spec: spec.name)
def test_a_size_is_one_number_or_one_an_axis(spec: Spec) -> None:
    for name in sizes(spec):
        owners = [c for c in load(spec).__mro__ if name in get_type_hints(vars(c).get("__init__", object.__init__))]
        assert owners
        for owner in owners:
            hint = get_type_hints(vars(owner)["__init__"])[name]
            assert hint in KINDS, (owner, name, hint)
            text = " ".join((inspect.getdoc(owner) or "").split())
            assert re.search(rf"\b{name}: [^:]*\bone number for (a square|squares|a cube)\b", text), (owner, name)


def test_the_walk_meets_every_kind() -> None:
    names = {spec.name: sizes(spec) for spec in ALL if not spec.missing}
    assert names["uod"] == names["cc2d"] == ["match_size", "size"]
    anomaly = ("regad", "careg", "ssm", "arnet", "itf", "padim", "patchcore", "ct-phantom")
    for name in ("igu-aug", "gu2net", "han", "heatmap", *anomaly, "chest", "scp"):
        assert names[name] == ["size"], name
    assert names["landmark-phantoms"] == ["image_size", "size"]


@pytest.mark.parametrize(
    "option", [(s.name, o) for s in ALL if s.kind == "model" and not s.missing for o in sizes(s)], ids=".".join
)
def test_the_command_line_takes_both_forms(
    option: tuple[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, name = option
    for given in (64, [64, 96]):
        assert main(["fit", "--model", model, f"--model.{name}", str(given), "--print_config"]) == 0
        assert yaml.safe_load(capsys.readouterr().out)["model"]["init_args"][name] == given


def test_wrong_sizes_are_told_in_the_same_words() -> None:
    assert sides("model.size", 64) == sides("model.size", [64, 64]) == (64, 64)
    assert extents("data.size", 32, 3) == (32, 32, 32)
    for wrong in (8, 2**16, [64], [64, 8], [64, 64, 64], []):
        with pytest.raises(ConfigError, match=r"^--model.size: expected one number or \[height, width\] from 16 to"):
            sides("model.size", wrong)
    with pytest.raises(ConfigError, match=r"--data.size: expected one number or \[depth, height, width\]"):
        extents("data.size", [32, 32], 3)
