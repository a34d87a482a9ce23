"""Weights to share: a folder that is read wherever a checkpoint is, of safetensors, JSON and a card, with checksums."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from medzoo.core.errors import CheckpointError
from medzoo.core.io import read_json, replacing, write_json
from medzoo.core.seams import INSTANTIATOR

SCHEMA = "medzoo.weights/1"
WEIGHTS, ABOUT, SUMS = "model.safetensors", "model.json", "SHA256SUMS"
_KEPT = ("epoch", "global_step", "pytorch-lightning_version")
TRAINING = {
    *_KEPT,
    *("state_dict", "loops", "callbacks", "optimizer_states", "lr_schedulers", "MixedPrecision"),
    *("hparams_name", "hyper_parameters", "datamodule_hparams_name", "datamodule_hyper_parameters"),
}
"""What Lightning puts into a checkpoint; all else is the method's own, such as its supports, and part of the model."""
_PLACES = ("root", "predict")
_CURE = "get the folder anew"


def is_packed(path: str | Path) -> bool:
    """Return whether a path is a folder of packed weights."""
    return (Path(path) / ABOUT).is_file()


def write_packed(checkpoint: Mapping[str, object], folder: Path, card: str, about: Mapping[str, object]) -> None:
    """Write a checkpoint's model as a folder: weights, settings, the method's own values; nothing of the training.

    Settings of the data are kept but for folders and paths, which are nobody's business.

    Args:
        checkpoint: As `read_checkpoint` returned it.
        folder: Where to write; made where missing.
        card: Text of `README.md`.
        about: Further facts for `model.json`, such as figures.

    Raises:
        CheckpointError: The method keeps something that is neither a tensor nor a plain value.
    """
    tensors = {f"state/{n}": v for n, v in _part(checkpoint, "state_dict").items() if isinstance(v, Tensor)}
    own = {name: _encoded(value, name, tensors) for name, value in checkpoint.items() if name not in TRAINING}
    parts = ("hyper_parameters", "datamodule_hyper_parameters")
    settings = {name: _settings(_part(checkpoint, name)) for name in parts}
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / WEIGHTS) as part:
        part.write_bytes(save({name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}))
    kept = {name: checkpoint[name] for name in _KEPT if name in checkpoint}
    write_json(
        folder / ABOUT,
        {"schema": SCHEMA, **about, **kept, **{k: _encoded(v, k, {}) for k, v in settings.items()}, "own": own},
    )
    with replacing(folder / "README.md") as part:
        part.write_text(card, encoding="utf-8", errors="backslashreplace")
    sums = "".join(f"{_sha256(folder / name)}  {name}\n" for name in ("README.md", ABOUT, WEIGHTS))
    with replacing(folder / SUMS) as part:
        part.write_text(sums, encoding="utf-8")


def _part(checkpoint: Mapping[str, object], name: str) -> dict[str, object]:
    part = checkpoint.get(name, {})
    return part if isinstance(part, dict) else {}


def _settings(settings: Mapping[str, object]) -> dict[str, object]:
    return {
        name: value
        for name, value in settings.items()
        if name != INSTANTIATOR and name not in _PLACES and not (name != "backbone" and _is_path(value))
    }


def _is_path(value: object) -> bool:
    return isinstance(value, str) and ("/" in value or "\\" in value)


def read_packed(folder: Path, map_location: object = "cpu") -> dict[str, object]:
    """Read packed weights as the checkpoint that they were made of, without its training.

    Args:
        folder: The folder.
        map_location: Device of the tensors; a function, as torch takes one too, leaves them on the CPU.

    Raises:
        CheckpointError: A file is missing or not the one that was packed.
    """
    check_sums(folder)
    about = read_json(folder / ABOUT)
    if not isinstance(about, dict) or about.get("schema") != SCHEMA:
        raise CheckpointError(f"{folder / ABOUT}: is not of {SCHEMA}; get weights that this version of medzoo reads")
    try:
        device = map_location if isinstance(map_location, str | torch.device) else "cpu"
        tensors = load_file(folder / WEIGHTS, device=str(device))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{folder / WEIGHTS}: cannot be read as safetensors; {_CURE}") from error
    try:
        own = {name: _decoded(value, tensors) for name, value in dict(about["own"]).items()}
        settings = {name: _decoded(about[name], {}) for name in ("hyper_parameters", "datamodule_hyper_parameters")}
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder / ABOUT}: lacks what packed weights have; {_CURE}") from error
    state = {name.removeprefix("state/"): value for name, value in tensors.items() if name.startswith("state/")}
    return {**{name: about[name] for name in _KEPT if name in about}, "state_dict": state, **settings, **own}


def check_sums(folder: Path) -> None:
    """Compare the files of packed weights with their checksums.

    Raises:
        CheckpointError: One is missing or another than was packed.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / SUMS}: cannot be read; {_CURE}") from error
    for name in ("README.md", ABOUT, WEIGHTS):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name}: is missing; {_CURE}")
        if sums.get(name) != _sha256(folder / name):
            raise CheckpointError(f"{folder / name}: refused: it is not the file that was packed (SHA-256); {_CURE}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _encoded(value: object, place: str, tensors: dict[str, Tensor]) -> object:
    """Return a value as JSON holds it; tensors are moved to `tensors` and named in their place."""
    if isinstance(value, Tensor):
        name = f"own/{place}"
        tensors[name] = value
        return {"$tensor": name}
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise CheckpointError(f"{place!r} has names that are no texts, and cannot be packed")
        return {"$dict": {key: _encoded(entry, f"{place}/{key}", tensors) for key, entry in value.items()}}
    if isinstance(value, list | tuple):
        return [_encoded(entry, f"{place}/{index}", tensors) for index, entry in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise CheckpointError(f"{place!r} is {type(value).__name__}, and cannot be packed")


def _decoded(value: object, tensors: Mapping[str, Tensor]) -> object:
    if isinstance(value, list):
        return [_decoded(entry, tensors) for entry in value]
    if isinstance(value, dict):
        ((kind, content),) = value.items()
        if kind == "$tensor":
            return torch.as_tensor(tensors[content])
        if kind == "$float":
            return float(content)
        return {key: _decoded(entry, tensors) for key, entry in dict(content).items()}
    return value
