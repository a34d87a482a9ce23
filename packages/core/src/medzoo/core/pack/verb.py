"""`medzoo pack`: the command line."""

from __future__ import annotations

from pathlib import Path

from medzoo.core.cli.streams import say, show
from medzoo.core.cli.words import words_and_values
from medzoo.core.errors import CheckpointError, ConfigError, DataError

HELP = """usage: medzoo pack RUN -o DIR [--licence TEXT]

Makes a folder to share of a trained model: model.safetensors, model.json (settings, what decides how an image reaches
the network, thresholds, figures), README.md (a card) and SHA256SUMS. Nothing of the training is in it, nor any path of
the data; of methods that compare with known images, these are. medzoo predict DIR, test --ckpt_path DIR and
fit --init_from DIR take it. RUN is a run folder, whose last.ckpt is packed, or a checkpoint.
  -o, --out DIR    the folder, which must not exist yet
  --licence TEXT   of the weights, for the card: a name such as CC-BY-4.0, or a sentence
"""


def run(args: list[str]) -> None:
    """Pack a run.

    Raises:
        ConfigError: The arguments are wrong.
        CheckpointError: There is no checkpoint, or it does not name its model.
    """
    if not args or {"--help", "-h"} & set(args):
        show(HELP)
        if not args:
            raise ConfigError("medzoo pack needs RUN and -o DIR")
        return
    runs, values = words_and_values(args, ("--out", "--licence"))
    out = values.get("--out")
    if len(runs) != 1 or out is None:
        raise ConfigError(f"medzoo pack needs one RUN and -o DIR, got {' '.join(runs) or 'no run'}")
    _pack(Path(runs[0]), Path(out), values.get("--licence"))


def _pack(run_path: Path, folder: Path, licence: str | None) -> None:
    if not run_path.exists():
        raise DataError(run_path, "does not exist", "give a run folder, or a checkpoint")
    checkpoint = run_path / "checkpoints" / "last.ckpt" if run_path.is_dir() else run_path
    if not checkpoint.is_file():
        raise DataError(run_path, "has no checkpoints/last.ckpt", "give the folder of a medzoo fit, or a checkpoint")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"-o {folder}: exists; name another folder")
    from importlib.metadata import version

    from torch import Tensor

    from medzoo.core.pack.card import About, card
    from medzoo.core.runs.checkpoint_io import read_checkpoint
    from medzoo.core.runs.packed import TRAINING, write_packed
    from medzoo.core.runs.saved import saved

    content = read_checkpoint(checkpoint)
    model, data = saved(content, "model"), saved(content, "datamodule")
    if model is None:
        raise CheckpointError(f"{checkpoint}: does not name its model; pack a checkpoint of medzoo fit")
    results, environment = (_read(checkpoint.parent.parent / name) for name in ("results.json", "environment.json"))
    tested, metrics = Path(str(results.get("ckpt_path", ""))).name == checkpoint.name, results.get("metrics")
    about: About = {
        "model": model.spec.name,
        "package": model.spec.package,
        "medzoo": version("medzoo-core"),
        "task": model.spec.task,
        "data": data.spec.name if data else None,
        "seed": results.get("seed"),
        "commit": environment.get("git_commit"),
        "figures": metrics if tested and isinstance(metrics, dict) else {},
        "notice": "for research, not for diagnosis",
    }
    images = [name for name, value in content.items() if name not in TRAINING and _holds(value, Tensor)]
    write_packed(content, folder, card(model.spec, about, images, licence), about)
    size = sum(file.stat().st_size for file in folder.iterdir())
    say(f"{model.spec.name} packed: {folder}, {size / 2**20:.1f} MB")
    if images:
        say(f"it holds images of the training data ({', '.join(images)}); see that you may share them")


def _read(path: Path) -> dict[str, object]:
    from medzoo.core.io import read_json

    content = read_json(path) if path.is_file() else {}
    return content if isinstance(content, dict) else {}


def _holds(value: object, kind: type) -> bool:
    """Return whether there is a tensor somewhere in a value."""
    if isinstance(value, dict):
        return any(_holds(entry, kind) for entry in value.values())
    return any(_holds(entry, kind) for entry in value) if isinstance(value, list | tuple) else isinstance(value, kind)
