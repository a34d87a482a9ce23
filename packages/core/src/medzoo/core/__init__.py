"""What every medzoo package stands on; names are imported on first use so that `import medzoo.core` stays light."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medzoo.core.lazy import lazy

if TYPE_CHECKING:
    from medzoo.core.errors import CheckpointError, ConfigError, DataError, MedzooError, PluginError, TrainingError
    from medzoo.core.files.predict import Predictor
    from medzoo.core.method import Method
    from medzoo.core.zoo import create_datamodule, create_model, list_datamodules, list_models, load_checkpoint

__getattr__, __dir__ = lazy(
    __name__,
    {
        "CheckpointError": "errors",
        "ConfigError": "errors",
        "DataError": "errors",
        "MedzooError": "errors",
        "Method": "method",
        "PluginError": "errors",
        "Predictor": "files.predict",
        "TrainingError": "errors",
        "create_datamodule": "zoo",
        "create_model": "zoo",
        "list_datamodules": "zoo",
        "list_models": "zoo",
        "load_checkpoint": "zoo",
    },
)
__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "MedzooError",
    "Method",
    "PluginError",
    "Predictor",
    "TrainingError",
    "create_datamodule",
    "create_model",
    "list_datamodules",
    "list_models",
    "load_checkpoint",
]
