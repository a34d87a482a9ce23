"""`medzoo schema` and `medzoo completion`: what editors and shells are given is what the commands take."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medzoo.core.cli import main
from medzoo.core.cli.completion import script
from medzoo.core.cli.schema import of_type
from medzoo.core.recipes import packaged_recipe, recipe_names
from medzoo.core.registry import names, specs
from medzoo.core.safe_yaml import read_yaml

KINDS = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("schema") / "medzoo.schema.json"
    assert main(["schema", "-o", str(path)]) == 0
    return dict(json.loads(path.read_text()))


def faults(value: object, schema: dict[str, Any], whole: dict[str, Any]) -> Iterator[str]:
    """Check a value by the words of draft 7 that the schema has; any other word fails the test."""
    if "$ref" in schema:
        schema = whole["definitions"][schema["$ref"].removeprefix("#/definitions/")]
    for word, wanted in schema.items():
        if word in ("$schema", "title", "description", "default", "definitions", "then"):
            continue
        if word == "type":
            kinds = wanted if isinstance(wanted, list) else [wanted]
            if not any(is_kind(value, kind) for kind in kinds):
                yield f"{value!r} is not {wanted}"
        elif word == "enum":
            if value not in wanted:
                yield f"{value!r} is none of {wanted}"
        elif word == "anyOf":
            if all(list(faults(value, part, whole)) for part in wanted):
                yield f"{value!r} fits nothing"
        elif word == "allOf":
            for rule in wanted:
                yield from faults(value, rule, whole)
        elif word == "if":
            if isinstance(value, dict) and not list(faults(value, wanted, whole)):
                yield from faults(value, schema["then"], whole)
        elif word == "required":
            yield from (f"{key} is missing" for key in wanted if isinstance(value, dict) and key not in value)
        elif word == "properties":
            for key in wanted.keys() & value.keys() if isinstance(value, dict) else ():
                yield from faults(value[key], wanted[key], whole)  # type: ignore[index]
        elif word == "additionalProperties":
            for key in value.keys() - schema.get("properties", {}).keys() if isinstance(value, dict) else ():
                yield from [f"no option {key}"] if wanted is False else faults(value[key], wanted, whole)  # type: ignore[index]
        elif word == "items":
            for place, entry in enumerate(value if isinstance(value, list) else ()):
                part = wanted[place] if isinstance(wanted, list) else wanted
                yield from faults(entry, part, whole)
        else:
            assert word == "additionalItems", f"unknown word {word}"


def is_kind(value: object, kind: str) -> bool:
    if kind in ("integer", "number"):
        return isinstance(value, int | (float if kind == "number" else int)) and not isinstance(value, bool)
    return isinstance(value, KINDS[kind])


def test_every_packaged_recipe_is_valid_by_the_schema(schema: dict[str, Any]) -> None:
    seen = 0
    for spec in (found for found in specs("model") if not found.missing):
        for name in recipe_names(spec):
            assert not list(faults(packaged_recipe(spec, name), schema, schema)), f"{spec.name}/{name}"
            seen += 1
    assert seen > 40


def test_the_configuration_of_a_run_is_valid_and_defaults_are_those_of_the_recipe(
    schema: dict[str, Any], workdir: Path
) -> None:
    assert main(["fit", "--model", "toy", "--trainer.max_epochs", "1", "--run_dir", "run", "--quiet"]) == 0
    config = read_yaml(Path("run/config.yaml").read_text())
    assert not list(faults(config, schema, schema))
    uod = schema["definitions"]["model.uod"]["properties"]
    assert uod["size"]["default"] == 128  # of the quick recipe; the class has 576
    assert uod["vgg_norm"]["enum"] == ["none", "batch", "group"]
    assert "VGG" in uod["vgg_norm"]["description"]


@pytest.mark.parametrize(
    "config",
    [
        {"modle": "uod"},
        {"model": "uodd"},
        {"model": {"class_path": "uod", "init_args": {"fuze": "product"}}},
        {"model": {"class_path": "uod", "init_args": {"fuse": "sum"}}},
        {"model": {"class_path": "uod", "init_args": {"patch": "large"}}},
        {"data": {"class_path": "chest", "init_args": {"test_fraction": True}}},
        {"trainer": {"max_epoch": 3}},
    ],
)
def test_a_slip_in_a_configuration_is_found(config: dict[str, object], schema: dict[str, Any]) -> None:
    assert list(faults(config, schema, schema))
    jsonschema = pytest.importorskip("jsonschema")  # an independent judge, where it is at hand
    assert not jsonschema.Draft7Validator(schema).is_valid(config)


def test_types_have_the_schema_of_their_values() -> None:
    assert of_type(int | list[int]) == {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]}
    assert of_type(dict[str, float]) == {"type": "object", "additionalProperties": {"type": "number"}}
    pair = {"type": "array", "items": [{"type": "integer"}, {"type": "number"}], "additionalItems": False}
    assert of_type(tuple[int, float]) == pair
    assert of_type(str | object) == {}


ASKED = {
    "medzoo pre": {"predict"},
    "medzoo fit --model uo": {"uod"},
    "medzoo fit --model uod --model.fuse ": {"product", "softmax_product"},
    "medzoo fit --model uod --model.cla": {"--model.clamp"},
    "medzoo fit --model uod --model.clamp t": {"true"},
    "medzoo fit --model uod --data.n_tr": {"--data.n_train"},  # of the recipe's own data
    "medzoo fit --model uod --data chest --data.root_": set(),
    "medzoo fit --model uod --data chest --data.resize p": {"pad"},
    "medzoo fit --model uod --logger t": {"tensorboard"},
    "medzoo predict padim-ph": {"padim-phantom"},
    "medzoo report run --anon": {"--anonymous"},
    "medzoo select s": {"scp"},
    "medzoo info chest": {name for kind in ("datamodule", "model") for name in names(kind) if name.startswith("chest")},
}


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes_verbs_options_names_and_values(shell: str, workdir: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    Path("medzoo.sh").write_text(script(shell))
    begin = "" if shell == "bash" else "emulate -L zsh; setopt ksharrays; autoload -U +X compinit && compinit -u\n"
    asks = "".join(
        f"COMP_WORDS=({' '.join(repr(word) for word in text.split(' '))}); COMP_CWORD={text.count(' ')}; _medzoo; "
        'echo "${COMPREPLY[*]}"\n'
        for text in ASKED
    )
    ran = subprocess.run(
        [shell], input=f"{begin}source ./medzoo.sh\n{asks}", capture_output=True, text=True, check=True
    )
    assert not ran.stderr
    for (text, wanted), line in zip(ASKED.items(), ran.stdout.splitlines(), strict=True):
        found = set(line.split())
        if shell == "zsh":  # its compgen gives all words, and the line editor leaves out those that do not fit
            found = {word for word in found if word.startswith(text.rpartition(" ")[2])}
        assert found == wanted, text


def test_a_shell_that_is_not_known_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "fish"]) == 2
    assert "expected bash or zsh, got fish" in capsys.readouterr().err
