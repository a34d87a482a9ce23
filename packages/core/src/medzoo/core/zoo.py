"""The zoo from Python: list, build and load models by name."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from medzoo.core.errors import CheckpointError
from medzoo.core.registry import find, load, specs

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule, LightningModule


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of the installed models that match `pattern` (with `*` and `?`), without importing them."""
    return _usable("model", pattern)


def list_datamodules(pattern: str = "*") -> list[str]:
    """Return the names of the installed data modules that match `pattern`, without importing them."""
    return _usable("datamodule", pattern)


def _usable(kind: str, pattern: str) -> list[str]:
    """Return the names of a kind without those that need an extra that is not installed."""
    found = (spec.name for spec in specs(kind) if fnmatch(spec.name, pattern) and not spec.missing)
    return list(dict.fromkeys(found))  # a name that two packages claim is one


def create_model(name: str, recipe: str = "default", **arguments: object) -> LightningModule:
    """Build a model by name, with the settings that `medzoo fit --model NAME` has.

    Args:
        name: Name of the model, see `list_models`.
        recipe: The packaged recipe whose settings are the defaults here, such as `paper`. The class itself, built
            without arguments, has the paper's.
        arguments: `__init__` arguments that replace the recipe's.

    Raises:
        ConfigError: The model has no such recipe.
        PluginError: The name is unknown or its package fails to import.
    """
    from medzoo.core.recipes import packaged_recipe

    spec = find("model", name)
    settings = packaged_recipe(spec, recipe)["model"].get("init_args", {})
    model: LightningModule = load(spec)(**{**settings, **arguments})
    return model


def create_datamodule(name: str, **arguments: object) -> LightningDataModule:
    """Build a data module by name with `__init__` arguments.

    Raises:
        PluginError: The name is unknown or its package fails to import.
    """
    datamodule: LightningDataModule = load(find("datamodule", name))(**arguments)
    return datamodule


def load_checkpoint(path: str | Path) -> LightningModule:
    """Build the model of a run's checkpoint, with its weights, in evaluation mode on the CPU.

    Args:
        path: A checkpoint, a folder of `medzoo pack`, a name of weights of `list`, or `hf://org/name`.

    Only classes that an installed package registers are built, and the file is read as data.

    Raises:
        CheckpointError: The file is unsafe, damaged, does not name its model, or does not fit it.
        PluginError: The model is not installed.
    """
    from medzoo.core.runs.checkpoint_io import read_checkpoint
    from medzoo.core.runs.saved import restoring, saved, sized_as
    from medzoo.core.runs.schema import weights_of
    from medzoo.core.runs.weights import located

    path = located(path)
    checkpoint = read_checkpoint(path)
    kept = saved(checkpoint, "model", path)
    if kept is None:
        raise CheckpointError(f"{path}: does not name its model; use the class's own load_from_checkpoint")
    model_class = load(kept.spec)
    with restoring(str(path), kept.spec.name):
        with sized_as(path, checkpoint):
            model: LightningModule = model_class(**kept.settings)
        model.on_load_checkpoint(checkpoint)
        model.load_state_dict(weights_of(checkpoint))
    return model.eval()
