"""Prompts of classes: sentences that a model compares with an image, from presets, YAML files or a command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from medzoo.core.errors import ConfigError
from medzoo.core.safe_yaml import read_yaml

Combine = Literal["logit", "pair"]
_PRESETS = Path(__file__).with_name("presets")
_MAX_BYTES = 2**20


@dataclass(frozen=True)
class Prompt:
    """The sentences of one class; logits of several are averaged, for a cross-attention has no mean of embeddings.

    Attributes:
        name: The class.
        positive: Sentences that say it is there.
        negative: Sentences that say it is not; may be empty.
    """

    name: str
    positive: tuple[str, ...]
    negative: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prompts:
    """Classes with their sentences, and how both kinds make one score.

    Attributes:
        classes: In the order of the columns of a table.
        combine: `logit`, the mean logit of the positive sentences; `pair`, the logit of a softmax over positive and
            negative, which is their difference.
    """

    classes: tuple[Prompt, ...]
    combine: Combine = "logit"

    def __post_init__(self) -> None:
        names = [prompt.name for prompt in self.classes]
        if not names:
            raise ConfigError("--prompts: no class; give one, such as pneumothorax")
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ConfigError(f"--prompts: the class {twice!r} comes twice; give each a name of its own")
        for prompt in self.classes:
            if not prompt.positive or not all(re.search(r"\w", text) for text in (*prompt.positive, *prompt.negative)):
                raise ConfigError(f"--prompts: the class {prompt.name!r} has an empty sentence; write its words")
            if self.combine == "pair" and not prompt.negative:
                raise ConfigError(f"--prompts: the class {prompt.name!r} has no negative sentence to make a pair")

    @property
    def names(self) -> tuple[str, ...]:
        """The classes."""
        return tuple(prompt.name for prompt in self.classes)


def presets() -> tuple[str, ...]:
    """Return the names of the presets that come with the package."""
    return tuple(sorted(path.stem for path in _PRESETS.glob("*.yaml")))


def from_preset(name: str, classes: Sequence[str]) -> Prompts:
    """Return prompts for classes by a preset, see `presets`; «_» in a name, as columns of tables have it, is a blank.

    Raises:
        ConfigError: There is no such preset, or a class is empty.
    """
    if name not in presets():
        raise ConfigError(f"preset {name!r}: expected {', '.join(presets())}")
    found: Any = read_yaml((_PRESETS / f"{name}.yaml").read_text(encoding="utf8"))
    empty = [label for label in classes if not re.search(r"[^\W_]", label)]
    if empty:
        raise ConfigError(f"--prompts: {empty[0]!r} is no name of a class; write its words")
    made = (
        Prompt(label, *(tuple(text.format(spoken(label)) for text in found[key]) for key in ("positive", "negative")))
        for label in classes
    )
    return Prompts(tuple(made), found["combine"])


def spoken(label: str) -> str:
    """Return the name of a class as a report has it: `Pleural_Thickening` is two words."""
    return " ".join(label.replace("_", " ").split())


def read_prompts(text: str, preset: str = "carzero") -> Prompts:
    """Return the prompts that a command line gives: names with `;` between them, or a YAML file.

    A file maps each class to a sentence, a list of sentences, or `{positive: […], negative: […]}`. Where all classes
    have negative sentences, both make one score (`combine: pair`).

    Args:
        text: `pleural effusion; pneumothorax`, or the path of a file that ends in `.yaml` or `.yml`.
        preset: How names become sentences.

    Raises:
        ConfigError: The file is missing or has another form, or a name is empty or comes twice.
    """
    if not names_file(text):
        return from_preset(preset, [" ".join(name.split()) for name in text.strip().strip(";").split(";")])
    path = Path(text.strip())
    if not path.is_file():
        raise ConfigError(f"--prompts {path}: no such file; give a YAML file, or names with ; between them")
    if path.stat().st_size > _MAX_BYTES:
        raise ConfigError(f"--prompts {path}: larger than {_MAX_BYTES} bytes, so no prompts")
    try:
        content = read_yaml(path.read_text(encoding="utf8"))
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"--prompts {path}: not valid YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"--prompts {path}: expected classes with their sentences, such as mass: There is a mass")
    parts = [(str(name), value if isinstance(value, dict) else {"positive": value}) for name, value in content.items()]
    made = [
        Prompt(name, *(_texts(path, name, part.get(key)) for key in ("positive", "negative"))) for name, part in parts
    ]
    return Prompts(tuple(made), "pair" if made and all(prompt.negative for prompt in made) else "logit")


def names_file(text: str) -> bool:
    """Return whether prompts of a command line are the path of a YAML file, which has sentences of its own."""
    return text.strip().endswith((".yaml", ".yml"))


def clinical_prompts(file: str | None, preset: str, classes: Sequence[str], denied: bool) -> tuple[Prompt, ...]:
    """Return the descriptions of classes from a file, else the sentences of a preset, in the order of the classes.

    Args:
        file: YAML file as of `read_prompts`; None for none.
        preset: How names become sentences where there is no file.
        classes: Names of the classes.
        denied: Whether each needs a sentence that denies it.

    Raises:
        ConfigError: A class is not in the file, or has no sentence of a kind that is needed.
    """
    found = from_preset(preset, classes) if file is None else read_prompts(file, preset)
    by_name = {prompt.name: prompt for prompt in found.classes}
    for name in classes:
        if name not in by_name:
            raise ConfigError(f"--model.clinical: no description of {name!r} in {file}; add one")
        if denied and not by_name[name].negative:
            where = f"in {file}; add one" if file else f"by the preset {preset}; give a YAML file with some"
            raise ConfigError(f"--model.clinical: no negative sentence of {name!r} {where}")
    return tuple(by_name[name] for name in classes)


def _texts(path: Path, name: str, value: object) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"--prompts {path}: {name!r} has no sentences; write a text or a list of texts")
    return tuple(texts)
