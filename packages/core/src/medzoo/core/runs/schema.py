"""What the fields of a checkpoint must be, checked once, right after reading and before anything uses them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor

from medzoo.core.errors import CheckpointError
from medzoo.core.seams import CLASS_PATH, INSTANTIATOR
from medzoo.core.torch_files import has_its_data

_DEPTH, _NODES = 40, 2_000_000  # ours are 10 deep; an optimiser's state has a few values for each of its weights
_SETTINGS_NODES = 100_000
_COUNT, _LARGEST = 2**48, 2**62
CHANGED = "it was changed or damaged after medzoo wrote it"
"""How a line on a wrong field ends."""
_VERSION = re.compile(r"\d+(\.\d+){1,3}[\w.+-]{0,40}")
_PLAIN = (bool, int, float, complex, str, bytes, torch.dtype, torch.device)


def check(path: object, checkpoint: Mapping[str, object]) -> None:
    """Check all fields that Lightning and medzoo write.

    Args:
        path: The file, for the message.
        checkpoint: What was read from it.

    Raises:
        CheckpointError: A field is missing, has another type, or holds what cannot be (a weight that is not finite, a
            tensor larger than its data, a count below zero); the message names it.
    """
    for fault in _faults(checkpoint):
        raise CheckpointError(f"{path}: {fault}; {CHANGED}")


def check_field(key: str, right: bool, expected: str) -> None:
    """Check a field that a method has put into its checkpoints; the reader adds the file's name to the message.

    Raises:
        CheckpointError: The field is not `expected`.
    """
    if not right:
        raise CheckpointError(f"{key!r} is not {expected}")


def weights_of(checkpoint: Mapping[str, object]) -> dict[str, Tensor]:
    """Return the tensors by name of a checkpoint that was checked."""
    return cast(dict[str, Tensor], checkpoint["state_dict"])


def settings_of(checkpoint: Mapping[str, object], key: str) -> dict[str, object]:
    """Return a copy of the `__init__` arguments under a key of a checkpoint that was checked; empty without any."""
    return dict(cast(dict[str, object], checkpoint.get(key, {})))


def kind(value: object) -> str:
    """Return what a value is, in a word or two."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)[:20]
    return type(value).__name__


def _faults(checkpoint: Mapping[str, object]) -> Iterator[str]:
    yield from _bounded("", checkpoint, _NODES)
    yield from _weights(checkpoint.get("state_dict"))
    for key in ("epoch", "global_step"):
        yield from _count(key, checkpoint.get(key, 0))
    for key in ("hparams_name", "datamodule_hparams_name"):
        yield from _is(key, checkpoint.get(key, ""), str, "a text")
    version = checkpoint.get("pytorch-lightning_version", "0.0")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        yield f"'pytorch-lightning_version' is {kind(version)}, expected a version such as 2.5.0"
    for key in ("hyper_parameters", "datamodule_hyper_parameters"):
        settings = checkpoint.get(key, {})
        yield from _is(key, settings, dict, "a dictionary of settings")
        assert isinstance(settings, dict)
        yield from _bounded(key, settings, _SETTINGS_NODES)
        yield from _json(key, settings)
        for name in (CLASS_PATH, INSTANTIATOR):
            yield from _is(f"{key}.{name}", settings.get(name, ""), str, "an import path")
    yield from _callbacks(checkpoint.get("callbacks", {}))
    yield from _optimizers(checkpoint.get("optimizer_states", []))
    yield from _list_of_dicts("lr_schedulers", checkpoint.get("lr_schedulers", []))
    if "loops" in checkpoint:
        yield from _loops(checkpoint["loops"])


def _bounded(place: str, value: object, nodes: int) -> Iterator[str]:
    """Yield a fault for values that are nested too deep or without end, too many, or not data."""
    queue: list[tuple[str, object, int]] = [(place, value, 0)]
    while queue:
        place, value, depth = queue.pop()
        nodes -= 1
        if depth > _DEPTH or nodes < 0:
            yield f"{place[:80]!r} is nested too deep or without end"
            return
        if isinstance(value, dict):
            for key, entry in value.items():
                if not isinstance(key, str | int | float | bool | tuple):
                    yield f"{place!r} has a key that is {kind(key)}, expected a text or a number"
                queue.append((f"{place}.{str(key)[:60]}" if place else str(key)[:60], entry, depth + 1))
        elif isinstance(value, list | tuple | set | frozenset):
            nodes -= len(value)
            if nodes >= 0:
                queue.extend((place, entry, depth + 1) for entry in value)
        elif isinstance(value, Tensor):
            if not has_its_data(value):
                yield f"{place!r} is a tensor of shape {tuple(value.shape)} without data for all of it"
        elif value is not None and not isinstance(value, _PLAIN):
            yield f"{place!r} is {kind(value)}, expected tensors and plain values"


def _weights(state: object) -> Iterator[str]:
    yield from _is("state_dict", state, dict, "a dictionary of tensors")
    assert isinstance(state, dict)
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            yield f"'state_dict.{name}' is {kind(value)}, expected a tensor with a name"
        elif not bool(torch.isfinite(value).all()):
            yield f"'state_dict.{name}' has values that are not finite"


def _json(place: str, value: object) -> Iterator[str]:
    """Yield a fault for settings that JSON could not hold (tuples apart); their depth is known to be bounded."""
    if isinstance(value, dict):
        for key, entry in value.items():
            if not isinstance(key, str | int):
                yield f"{place!r} has a key that is {kind(key)}, expected a text"
            yield from _json(f"{place}.{key}", entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _json(place, entry)
    elif isinstance(value, int) and abs(value) >= _LARGEST:
        yield f"{place!r} is {kind(value)}…, expected a number that a machine can count to"
    elif isinstance(value, float) and math.isnan(value):
        yield f"{place!r} is not a number"
    elif value is not None and not isinstance(value, bool | int | float | str):
        yield f"{place!r} is {kind(value)}, expected a plain value"


def _is(place: str, value: object, wanted: type, expected: str) -> Iterator[str]:
    if not isinstance(value, wanted):
        yield f"{place!r} is {kind(value)}, expected {expected}"


def _count(place: str, value: object) -> Iterator[str]:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _COUNT:
        yield f"{place!r} is {kind(value)}, expected a count"


def _list_of_dicts(place: str, value: object) -> Iterator[str]:
    yield from _is(place, value, list, "a list of dictionaries")
    for number, entry in enumerate(value if isinstance(value, list) else []):
        yield from _is(f"{place}.{number}", entry, dict, "a dictionary")
        if not all(isinstance(key, str) for key in entry):
            yield f"'{place}.{number}' has a key that is not a text"


def _callbacks(states: object) -> Iterator[str]:
    yield from _is("callbacks", states, dict, "a dictionary of dictionaries")
    assert isinstance(states, dict)
    for name, state in states.items():
        yield from _is(f"callbacks.{name}", state, dict, "a dictionary")
    table = states.get("EpochTable")
    if table is not None:
        place = "callbacks.EpochTable"
        yield from _has(place, table, ("epoch", "samples", "sums", "counts", "validation", "validated"))
        started = not (type(table["epoch"]) is int and table["epoch"] == -1)
        if started:
            yield from _count(f"{place}.epoch", table["epoch"])
        yield from _count(f"{place}.samples", table["samples"])
        for part in ("sums", "counts", "validation"):
            yield from _is(f"{place}.{part}", table[part], dict, "a dictionary of numbers")
            for key, value in table[part].items():
                if not isinstance(key, str) or isinstance(value, bool) or not isinstance(value, int | float):
                    yield f"'{place}.{part}.{key}' is {kind(value)}, expected a number"
        for key in table["sums"]:
            yield from _count(f"{place}.counts.{key}", table["counts"].get(key))
            if not table["counts"][key]:
                yield f"'{place}.counts.{key}' is 0, expected a count above 0"
        seen = table["validated"]
        if not isinstance(seen, list) or not all(isinstance(name, str) for name in seen):
            yield f"'{place}.validated' is {kind(seen)}, expected a list of texts"
    names = states.get("FrozenParts", {}).get("names", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        yield f"'callbacks.FrozenParts.names' is {kind(names)}, expected a list of texts"
    best = states.get("RunCheckpoints")
    if best is not None:
        yield from _has("callbacks.RunCheckpoints", best, ("best",))
        value = best["best"]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            yield f"'callbacks.RunCheckpoints.best' is {kind(value)}, expected a number"


def _optimizers(states: object) -> Iterator[str]:
    yield from _list_of_dicts("optimizer_states", states)
    assert isinstance(states, list)
    for number, entry in enumerate(states):
        place = f"optimizer_states.{number}"
        if entry == {}:  # a method that trains nothing has an optimiser without a state
            continue
        yield from _has(place, entry, ("state", "param_groups"))
        yield from _is(f"{place}.state", entry["state"], dict, "a dictionary")
        for weight, state in entry["state"].items():
            yield from _is(f"{place}.state.{weight}", state, dict, "a dictionary")
            for key, value in state.items():
                if isinstance(value, Tensor) and not bool(torch.isfinite(value).all()):
                    yield f"'{place}.state.{weight}.{key}' has values that are not finite"
        yield from _list_of_dicts(f"{place}.param_groups", entry["param_groups"])
        for group, options in enumerate(entry["param_groups"]):
            weights = options.get("params")
            if not isinstance(weights, list) or not all(type(weight) is int for weight in weights):
                yield f"'{place}.param_groups.{group}.params' is {kind(weights)}, expected a list of numbers"


def _loops(loops: object) -> Iterator[str]:
    yield from _is("loops", loops, dict, "a dictionary of loops")
    assert isinstance(loops, dict)
    yield from _has("loops", loops, ("fit_loop", "validate_loop", "test_loop", "predict_loop"))
    for name, loop in loops.items():
        yield from _is(f"loops.{name}", loop, dict, "a dictionary")
        for key, value in loop.items():
            place = f"loops.{name}.{key}"
            yield from _is(place, value, dict, "a dictionary")
            if str(key).endswith("progress"):
                yield from _progress(place, value)
        loaders = loop.get("state_dict", {}).get("combined_loader", [])
        yield from _list_of_dicts(f"loops.{name}.state_dict.combined_loader", loaders)
        for number, state in enumerate(loaders):
            for key in ("done", "epoch"):
                yield from _count(f"loops.{name}.state_dict.combined_loader.{number}.{key}", state.get(key))
    stepped = loops["fit_loop"].get("epoch_loop.state_dict", {}).get("_batches_that_stepped", 0)
    yield from _count("loops.fit_loop.epoch_loop.state_dict._batches_that_stepped", stepped)


def _progress(place: str, value: Mapping[object, object]) -> Iterator[str]:
    """Yield faults in Lightning's trackers of progress, whose innermost dictionaries count."""
    if "current" not in value and "total" not in value:
        yield from _has(place, value, ("optimizer",) if place.endswith("optim_progress") else ())
        for key, entry in value.items():
            yield from _is(f"{place}.{key}", entry, dict, "a dictionary")
            assert isinstance(entry, dict)
            if key in ("step", "zero_grad"):
                yield from _has(f"{place}.{key}", entry, ("current", "total"))
            yield from _progress(f"{place}.{key}", entry)
        if place.endswith(".optimizer"):
            yield from _has(place, value, ("step", "zero_grad"))
        return
    yield from _has(place, value, ("current", "total"))
    for part in ("current", "total"):
        counts = value[part]
        yield from _is(f"{place}.{part}", counts, dict, "a dictionary of counts")
        assert isinstance(counts, dict)
        yield from _has(f"{place}.{part}", counts, ("ready", "completed"))
        for key, count in counts.items():
            yield from _count(f"{place}.{part}.{key}", count)
    yield from _is(f"{place}.is_last_batch", value.get("is_last_batch", False), bool, "true or false")


def _has(place: str, value: Mapping[object, object], keys: tuple[str, ...]) -> Iterator[str]:
    for key in keys:
        if key not in value:
            yield f"'{place}.{key}' is missing"
