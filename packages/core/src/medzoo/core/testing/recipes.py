"""What a packaged recipe resolves to through the real command line, and how large its model is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from io import StringIO

import torch
import yaml

from medzoo.core.cli import main
from medzoo.core.recipes import recipe_names
from medzoo.core.registry import find, load
from medzoo.core.values import Recipe


def resolved(recipe: str, *flags: str) -> Recipe:
    """Return what `medzoo fit --config RECIPE --print_config` prints.

    Args:
        recipe: Such as `uod/paper`.
        flags: More arguments of the command line.
    """
    out = StringIO()
    with redirect_stdout(out):
        assert main(["fit", "--config", recipe, *flags, "--print_config"]) == 0
    config: Recipe = yaml.safe_load(out.getvalue())
    return config


def parameters(recipe: str, **arguments: object) -> int:
    """Return the number of parameters of a recipe's model, which is built without memory.

    Args:
        recipe: Such as `uod/paper`.
        arguments: `__init__` arguments that replace the recipe's, such as a stage.
    """
    settings = resolved(recipe)["model"]["init_args"] | arguments
    with torch.device("meta"):
        model = load(find("model", recipe.partition("/")[0]))(**settings)
    return sum(parameter.numel() for parameter in model.parameters())


def dry_run(recipe: str, settings: Mapping[str, object]) -> int:
    """Run one batch of everything with a recipe on the CPU and return the exit code.

    Args:
        recipe: Such as `uod/paper`.
        settings: Options by name, such as `model.size`, that make it small.
    """
    options = {**settings, "trainer.fast_dev_run": "true", "trainer.accelerator": "cpu"}
    flags = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    return main(["fit", "--config", recipe, "--quiet", *flags])


def packaged(models: Iterable[str]) -> set[str]:
    """Return the recipes that come with some models, as `model/recipe`."""
    return {f"{model}/{name}" for model in models for name in recipe_names(find("model", model))}
