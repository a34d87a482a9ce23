"""The class and the settings in a checkpoint, and the error where it does not fit what was asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from types import TracebackType
from typing import Protocol, cast

import torch
from torch import Tensor

from medzoo.core.errors import CheckpointError, MedzooError, PluginError, first_line
from medzoo.core.registry import Spec, registered
from medzoo.core.runs.checkpoint_io import read_checkpoint
from medzoo.core.runs.schema import CHANGED, settings_of, weights_of
from medzoo.core.seams import CLASS_PATH, INSTANTIATOR, TorchDispatchMode

_ENTRY = {"model": "hyper_parameters", "datamodule": "datamodule_hyper_parameters"}
_SPARE_BYTES, _SPARE_CALLS = 256 * 2**20, 10_000


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds of the model or the data module that it was made with."""

    spec: Spec
    settings: dict[str, object]


def saved(checkpoint: dict[str, object], kind: str, path: object = "") -> Saved | None:
    """Return the class and the `__init__` arguments that a checkpoint holds, without importing anything.

    Args:
        checkpoint: What `read_checkpoint` returned.
        kind: `"model"` or `"datamodule"`.
        path: The file, for the message.

    Returns:
        None where the checkpoint does not say, as those of a plain Lightning trainer.

    Raises:
        PluginError: No installed package registers the class.
    """
    settings = settings_of(checkpoint, _ENTRY[kind])
    settings.pop(INSTANTIATOR, None)  # Lightning would call it; medzoo builds registered classes only
    named = settings.pop(CLASS_PATH, None)
    if named is None:
        return None
    try:
        return Saved(registered(kind, cast(str, named)), settings)
    except PluginError as error:
        raise PluginError(f"{path}: '{_ENTRY[kind]}.{CLASS_PATH}': {error}" if path else str(error)) from error


class _Packet(Protocol):
    __name__: str


class _Operation(Protocol):
    """An operator of torch, as a dispatch mode gets it."""

    overloadpacket: _Packet

    def __call__(self, *args: object, **kwargs: object) -> object: ...


class _Allocations(TorchDispatchMode):
    """Refuses to make tensors beyond some bytes in all, before they are made."""

    def __init__(self, path: object, state: Mapping[str, Tensor], settings: dict[str, object]) -> None:
        super().__init__()
        self.path, self.settings = path, settings
        self.left = 8 * sum(value.numel() * value.element_size() for value in state.values()) + _SPARE_BYTES
        self.calls = 200 * len(state) + _SPARE_CALLS

    def __torch_dispatch__(
        self, func: _Operation, types: object, args: tuple[object, ...] = (), kwargs: dict[str, object] | None = None
    ) -> object:
        size = _asked_size(func, args)
        if size:
            if min(size) < 0:
                raise CheckpointError(f"{self.path}: no model has such settings{_below_zero(self.settings)}; {CHANGED}")
            given = (kwargs or {}).get("dtype")
            dtype = given if isinstance(given, torch.dtype) else torch.get_default_dtype()
            self.left -= prod(size) * dtype.itemsize
            self.calls -= 1
            if self.left < 0 or self.calls < 0:
                raise CheckpointError(
                    f"{self.path}: its settings ask for a far larger model than the weights in it are of"
                    f"{_largest(self.settings)}; {CHANGED}"
                )
        return func(*args, **(kwargs or {}))


def _numbers(settings: dict[str, object]) -> list[tuple[float, str]]:
    """Return the numbers in settings, each with the setting that it stands in."""
    return [
        (number, key)
        for key, value in settings.items()
        for number in (value if isinstance(value, list | tuple) else [value])
        if isinstance(number, int | float)
    ]


def _largest(settings: dict[str, object]) -> str:
    number, key = max(_numbers(settings), default=(0, ""))
    return f" ({key!r} is {number})" if key else ""


def _below_zero(settings: dict[str, object]) -> str:
    found = [f"{key!r} is {number}" for number, key in _numbers(settings) if number < 0]
    return f" ({', '.join(found[:3])})" if found else ""


def _asked_size(func: _Operation, args: Sequence[object]) -> list[int]:
    """Return the shape of what a call makes from nothing or blows up; empty where it does neither."""
    name = func.overloadpacket.__name__
    if name in ("arange", "linspace", "randperm"):
        return [int(max((abs(n) for n in args if isinstance(n, int | float)), default=0))]
    if name == "eye":
        return [n for n in args if isinstance(n, int)] * (2 if len(args) == 1 else 1)
    at = 1 if name == "repeat" or name.startswith("new_") else 0
    size = args[at] if len(args) > at else None
    return list(size) if isinstance(size, list | tuple) and all(isinstance(n, int) for n in size) else []


def sized_as(path: object, checkpoint: dict[str, object]) -> TorchDispatchMode:
    """Return a context in which only a model of about the size of a checkpoint's weights can be built.

    The settings of a checkpoint are text: a width of 2e8 in them costs its sender nothing. Eight times the weights are
    allowed, for what an initialisation needs, and 256 MB.
    """
    return _Allocations(path, weights_of(checkpoint), settings_of(checkpoint, _ENTRY["model"]))


@contextmanager
def restoring(path: str | None, asked: str) -> Iterator[None]:
    """Report what fails while a checkpoint's state is put in place as a fault of that checkpoint.

    Args:
        path: The checkpoint, if any.
        asked: Name of the model that was asked for.

    Raises:
        CheckpointError: The checkpoint is of another model, shape or optimiser; the message has the first three keys
            that differ.
    """
    try:
        yield
    except CheckpointError as error:
        if path is None or str(path) in str(error):
            raise
        raise CheckpointError(f"{path}: {error}") from error
    except MedzooError:
        raise
    except Exception as error:
        place = _restored(error.__traceback__)
        if path is None or place is None:
            raise
        if place:
            reason = f"{type(error).__name__}: {first_line(error)}"[:200]
            raise CheckpointError(f"{path}: {place!r} does not fit its model ({reason}); {CHANGED}") from error
        raise CheckpointError(misfit(path, error, asked)) from error


def _restored(trace: TracebackType | None) -> str | None:
    """Return which part of a checkpoint an error came from; empty where that is not known, None where from none.

    Lightning puts a state in place, and the optimiser meets what is wrong with its own at the next step.
    """
    place = None
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        if module.endswith(("checkpoint_connector", "core.zoo")):
            place = ""
        elif module == "torch.optim.lr_scheduler":
            place = "lr_schedulers"
        elif module.startswith("torch.optim.") and place is None:
            place = "optimizer_states"
        elif module.startswith(("lightning.", "medzoo.")) and place == "optimizer_states":
            place = None  # an optimiser's step calls that of the training
        trace = trace.tb_next
    return place


def misfit(path: object, error: Exception, asked: str) -> str:
    """Return in one line why a checkpoint does not fit its model."""
    made = saved(read_checkpoint(str(path)), "model")
    who = f"made by {made.spec.name}, asked for {asked}: " if made and made.spec.name != asked else ""
    text = str(error)
    keys = re.findall(r"size mismatch for ([\w.]+): copying a param with shape (.*?) from .*? is (.*?)\.(?:\s|$)", text)
    found = [f"{name} is {_shape(given)} in the file and {_shape(own)} in the model" for name, given, own in keys]
    for what, words in (("Missing", "is missing in the file"), ("Unexpected", "is not in the model")):
        names = re.search(rf"{what} key\(s\) in state_dict: (.*?)\.\s", text + "\n")
        found += [f"{name} {words}" for name in re.findall(r'"([^"]+)"', names[1] if names else "")]
    if found:
        more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
        return f"{path}: does not fit its model: {who}{', '.join(found[:3])}{more}"
    name = f"no {text}" if isinstance(error, KeyError) else first_line(error)
    return f"{path}: does not fit its model: {who}{name or type(error).__name__}"


def _shape(text: str) -> str:
    return text.removeprefix("torch.Size(").rstrip(")").replace("[", "(").replace("]", ")")
