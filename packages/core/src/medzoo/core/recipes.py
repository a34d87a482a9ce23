"""Configuration files and the recipes that come with a model: YAML with names, returned with class paths.

A recipe is the lowest layer of a configuration; files of the user and flags lie on top of it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

from medzoo.core.errors import ConfigError
from medzoo.core.registry import Spec, find, folder_of, registered
from medzoo.core.values import Part, Recipe

KINDS = {"model": "model", "data": "datamodule"}
"""The parts of a configuration that name a plug-in, and the kind that each is of."""
_MAX_BYTES = 2**20


def packaged_recipe(model: Spec, name: str = "default") -> Recipe:
    """Return a recipe that comes with a model: `model` and `data` with class paths, `trainer` where it has one.

    Args:
        model: The model; one without recipes has its class's own defaults and the data module of its card.
        name: `default`, or that of another file in the method's `configs`, such as `paper`.

    Raises:
        ConfigError: The model has no recipe of that name.
    """
    path = _files(model).get(name)
    if path is None and name != "default":
        known = ", ".join(f"{model.name}/{known}" for known in recipe_names(model))
        raise ConfigError(f"{model.name} has no packaged recipe {name!r}; known: {known or 'none'}")
    recipe = cast(Recipe, read_config(path, f"recipe {model.name}/{name}") if path else {})
    own: Part = {"class_path": model.class_path}
    recipe["model"] = {**own, **recipe.get("model", {}), **own}
    data = recipe.get("data") or {}
    if isinstance(data, dict) and "class_path" not in data and model.card.get("data"):
        data = {"class_path": str(model.card["data"]), **data}
    if data:
        recipe["data"] = cast(Part, class_of("data", data))
    return recipe


def recipe_names(model: Spec) -> list[str]:
    """Return the names of the recipes that come with a model, such as `default` and `paper`."""
    return list(_files(model))


def _files(model: Spec) -> dict[str, Path]:
    folder = folder_of(model.target)
    own = model.card.get("name") == model.name  # a recipe belongs to the method of its folder
    return {path.stem: path for path in sorted((folder / "configs").glob("*.yaml"))} if folder and own else {}


def class_path_of(key: str, value: str) -> str:
    """Return the class path that a name stands for; a registered class path stays."""
    if "." in value.rpartition(":")[2]:
        return registered(KINDS[key], value).class_path
    return find(KINDS[key], value).class_path


def class_of(key: str, value: object) -> object:
    """Return a part of a configuration with its class path in the place of a name; what names none stays."""
    if isinstance(value, str):
        return {"class_path": class_path_of(key, value)}
    if isinstance(value, dict) and isinstance(value.get("class_path"), str):
        return {**value, "class_path": class_path_of(key, value["class_path"])}
    return value


def read_config(path: Path, source: str) -> dict[str, object]:
    """Read a configuration file; `source` is what errors call it."""
    import yaml

    from medzoo.core.safe_yaml import read_yaml

    if path.stat().st_size > _MAX_BYTES:
        raise ConfigError(f"{source}: larger than {_MAX_BYTES} bytes, so not a configuration of medzoo")
    try:
        loaded = read_yaml(path.read_text(encoding="utf8"))
    except (yaml.YAMLError, ValueError) as error:
        first = " ".join(str(error).split())[:200]
        raise ConfigError(f"{source}: not valid YAML: {first}") from error
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read ({error.strerror})") from error
    if not isinstance(loaded, dict):
        raise ConfigError(f"{source}: expected keys such as model, data, trainer; got {type(loaded).__name__}")
    if "config" in loaded:
        raise ConfigError(f"{source}: has a key 'config', which only the command line takes; write its settings here")
    if not isinstance(loaded.get("trainer", {}), dict):
        raise ConfigError(
            f"{source}: trainer: expected settings such as max_epochs, got {type(loaded['trainer']).__name__}"
        )
    for key in KINDS:
        part = loaded.get(key)
        settings = part.get("init_args") if isinstance(part, dict) else None
        for name, value in settings.items() if isinstance(settings, dict) else ():
            check_number(f"{source}: {key}.{name}", value)
    return loaded


def check_number(where: str, value: object) -> None:
    """Refuse `0012` where a number may be meant as well as a name: read as 12 it would be another image.

    Raises:
        ConfigError: The value is of digits and begins with 0.
    """
    if isinstance(value, str) and re.fullmatch(r"[-+]?0\d+", value):
        raise ConfigError(
            f"{where} {value}: a number has no leading zeros; for what is called so write [{value}], or ./{value}"
        )
