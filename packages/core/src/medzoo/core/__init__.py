"""What every medzoo package stands on; names are imported on first use so that `import medzoo.core` stays light."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medzoo.core.errors import CheckpointError, ConfigError, DataError, MedzooError, PluginError, TrainingError
    from medzoo.core.module import Method
    from medzoo.core.zoo import create_datamodule, create_model, list_datamodules, list_models, load_checkpoint

_HOME = {
    "CheckpointError": "errors",
    "ConfigError": "errors",
    "DataError": "errors",
    "MedzooError": "errors",
    "Method": "module",
    "PluginError": "errors",
    "TrainingError": "errors",
    "create_datamodule": "zoo",
    "create_model": "zoo",
    "list_datamodules": "zoo",
    "list_models": "zoo",
    "load_checkpoint": "zoo",
}
__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "MedzooError",
    "Method",
    "PluginError",
    "TrainingError",
    "create_datamodule",
    "create_model",
    "list_datamodules",
    "list_models",
    "load_checkpoint",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(f"medzoo.core.{_HOME[name]}"), name)
    raise AttributeError(f"module 'medzoo.core' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
