"""Further test sets of a run, each with a name: `--test_set NAME=DIR`, or `test_sets` in a configuration file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from medzoo.core.distributed import print_once
from medzoo.core.errors import ConfigError
from medzoo.core.names import file_name

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule

    from medzoo.core.cli.parser import MedzooCLI

_TAKEN = ("checkpoints", "csv", "figures", "maps", "mlflow", "tensorboard", "volumes", "wandb")
"""Folders that a run may have itself."""


def add_test_set(known: dict[str, str], name: str, root: object, place: str) -> None:
    """Note a test set.

    Args:
        known: Folder by name, of those so far.
        name: What its figures and its folder in the run are called.
        root: The folder (or file) that it is read from.
        place: Where it is asked for, for messages.

    Raises:
        ConfigError: The name cannot be that of a folder, or is taken; or the data are not there.
    """
    if not isinstance(name, str) or not isinstance(root, str) or not name or not root:
        raise ConfigError(f"{place}: expected NAME=DIR, such as clinic=data/clinic")
    if file_name(name) != name:
        raise ConfigError(f"{place}: {name!r} is no name for a folder; take letters and digits, such as clinic")
    if name.casefold() in (*_TAKEN, *map(str.casefold, known)):
        raise ConfigError(f"{place}: the name {name!r} is taken; choose another")
    if not os.path.exists(root):  # an array file is as good
        raise ConfigError(f"{place}: there is no folder {root}")
    known[name] = root


def take_test_sets(known: dict[str, str], config: dict[str, object], source: str) -> None:
    """Take `test_sets` out of a configuration.

    Raises:
        ConfigError: It holds no folders by name.
    """
    given = config.pop("test_sets", {})
    if not isinstance(given, Mapping):
        raise ConfigError(f"{source}: test_sets: expected folders by name, got {type(given).__name__}")
    for name, root in given.items():
        add_test_set(known, name, root, f"{source}: test_sets")


def build_test_sets(cli: MedzooCLI, roots: Mapping[str, str]) -> dict[str, LightningDataModule]:
    """Build the data module of the run once for each further folder, as an external cohort.

    All that it has is tested where the data module has `all_test`, else its test part, which is said.

    Raises:
        ConfigError: The data module reads no folder.
    """
    settings = cli.config.data.init_args or {}
    if roots and "root" not in settings:
        kind = str(cli.config.data.class_path).rpartition(".")[2]
        raise ConfigError(f"--test_set: {kind} reads no folder")
    for root in roots.values():
        say_part(settings, root)
    whole = {"all_test": True} if "all_test" in settings else {}
    return {name: cli.build_data({"root": root, **whole}) for name, root in roots.items()}


def say_part(settings: Mapping[str, object], root: object) -> None:
    """Say that only a part of a folder is tested, where its data module draws one and cannot test all.

    Args:
        settings: Those of the data module.
        root: The folder.
    """
    share = settings.get("test_fraction")
    if share is not None and "all_test" not in settings:
        drawn = f"the {share} of --data.test_fraction that is drawn"
        print_once(f"testing a part of {root}, not all of it: its own test part or, where it names none, {drawn}")
