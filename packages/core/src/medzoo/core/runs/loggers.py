"""Lightning's loggers with their folders filled in: `--logger csv|tensorboard|wandb|mlflow`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from medzoo.core.errors import ConfigError, check_choice

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

LOGGERS: dict[str, tuple[str, ...]] = {
    "csv": (),
    "tensorboard": ("tensorboard", "tensorboardX"),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
}
"""By name: the packages of which one must be there."""


def asked_loggers(text: str) -> tuple[str, ...]:
    """Return the loggers that a text names, several with commas, each once.

    Raises:
        ConfigError: One is unknown, or its package is not installed.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        check_choice("logger", name, tuple(LOGGERS))
        packages = LOGGERS[name]
        if packages and not any(map(find_spec, packages)):
            raise ConfigError(f"--logger {name}: needs a package that is not installed: pip install {packages[0]}")
    return names


def build_loggers(names: tuple[str, ...], folder: Path, run: str) -> list[Logger]:
    """Return the loggers; all of them write below a folder and none to a server.

    Args:
        names: See `asked_loggers`.
        folder: Of the run, or of one of its stages.
        run: What the run is called where several are shown beside each other.
    """
    from lightning.pytorch import loggers

    made: list[Logger] = []
    for name in names:
        if name == "csv":
            made.append(loggers.CSVLogger(folder, name="csv"))
        elif name == "tensorboard":
            made.append(loggers.TensorBoardLogger(folder, name="tensorboard", version=""))
        elif name == "wandb":
            made.append(loggers.WandbLogger(name=run, save_dir=folder, project="medzoo", offline=True))
        else:
            store = f"sqlite:///{(folder / 'mlflow.db').resolve()}"
            made.append(loggers.MLFlowLogger("medzoo", run, store, artifact_location=str(folder / "mlflow")))
    return made
