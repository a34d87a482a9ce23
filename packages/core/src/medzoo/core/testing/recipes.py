"""What a packaged recipe resolves to through the real command line, and how large its model is."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import torch
import yaml

from medzoo.core.cli import main
from medzoo.core.registry import find, load


def resolved(recipe: str, *flags: str) -> dict[str, Any]:
    """Return what `medzoo fit --config RECIPE --print_config` prints.

    Args:
        recipe: Such as `uod/paper`.
        flags: More arguments of the command line.
    """
    out = StringIO()
    with redirect_stdout(out):
        assert main(["fit", "--config", recipe, *flags, "--print_config"]) == 0
    config: dict[str, Any] = yaml.safe_load(out.getvalue())
    return config


def parameters(recipe: str, **arguments: Any) -> int:
    """Return the number of parameters of a recipe's model, which is built without memory.

    Args:
        recipe: Such as `uod/paper`.
        arguments: `__init__` arguments that replace the recipe's, such as a stage.
    """
    settings = resolved(recipe)["model"]["init_args"] | arguments
    with torch.device("meta"):
        model = load(find("model", recipe.partition("/")[0]))(**settings)
    return sum(parameter.numel() for parameter in model.parameters())
