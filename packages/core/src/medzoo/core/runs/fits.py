"""A guard that compares the training state in a checkpoint with the run that is to go on, before it is put in place."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from medzoo.core.errors import CheckpointError
from medzoo.core.runs.schema import kind


class ResumeFits(Callback):
    """Refuse to go on with optimisers or schedules other than those that a checkpoint was made with.

    Lightning puts their state in place after `on_fit_start`, and a wrong one would fail, or mislead, steps later.
    """

    def __init__(self) -> None:
        self.checkpoint: dict[str, object] | None = None

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, object]) -> None:
        """Remember the checkpoint until there are optimisers."""
        self.checkpoint = checkpoint

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise `CheckpointError` with up to three keys that differ."""
        checkpoint, self.checkpoint = self.checkpoint, None
        if checkpoint is None:
            return
        faults = list(_differences(trainer, checkpoint))
        if faults:
            more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
            raise CheckpointError(
                f"{trainer.ckpt_path}: does not fit this run's optimisers: {', '.join(faults[:3])}{more}"
            )


def _differences(trainer: Trainer, checkpoint: dict[str, object]) -> Iterator[str]:
    states = cast("list[dict[str, object]] | None", checkpoint.get("optimizer_states"))
    schedules = checkpoint.get("lr_schedulers")
    if states is None or schedules is None or "loops" not in checkpoint:
        yield "it holds weights alone, expected 'optimizer_states', 'lr_schedulers' and 'loops'"
        return
    if len(states) != len(trainer.optimizers):
        yield f"'optimizer_states' has {len(states)} optimisers, expected {len(trainer.optimizers)}"
        return
    for number, (optimizer, state) in enumerate(zip(trainer.optimizers, states, strict=True)):
        yield from _optimizer(f"optimizer_states.{number}", optimizer, state)
    own = [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs]
    yield from _alike("lr_schedulers", own, schedules)


def _optimizer(place: str, optimizer: Optimizer, state: dict[str, object]) -> Iterator[str]:
    own = optimizer.state_dict()
    if not own or not state:  # a method that trains nothing has an optimiser without state
        if own or state:
            yield f"{place!r} is of a method that {'trains nothing' if own else 'trains'}"
        return
    yield from _alike(f"{place}.param_groups", own["param_groups"], state["param_groups"])
    template = _fresh_state(optimizer)
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for index, values in cast("dict[object, dict[str, object]]", state["state"]).items():
        where = f"{place}.state.{index}"
        if not isinstance(index, int) or not 0 <= index < len(weights):
            yield f"'{where}' is of a weight that the model does not have"
            continue
        if template is None:
            continue
        if set(values) != set(template):
            yield f"'{where}' has {_names(values)}, expected {_names(template)}"
            continue
        for key, value in values.items():
            expected = template[key]
            if not isinstance(expected, Tensor):
                yield from _alike(f"{where}.{key}", expected, value)
                continue
            shape = weights[index].shape if expected.shape == _PROBE else expected.shape
            if not isinstance(value, Tensor) or value.shape != shape:
                yield f"'{where}.{key}' is {kind(value)}, expected a tensor of shape {tuple(shape)}"
            elif not bool(torch.isfinite(value).all()):
                yield f"'{where}.{key}' has values that are not finite"


_PROBE = torch.Size((2, 3))


def _fresh_state(optimizer: Optimizer) -> dict[str, object] | None:
    """Return what such an optimiser keeps for a weight of shape `_PROBE`; None where a step needs more."""
    weight = nn.Parameter(torch.zeros(_PROBE))
    weight.grad = torch.zeros(_PROBE)
    options = {key: value for key, value in optimizer.param_groups[0].items() if key != "params"}
    try:
        probe = type(optimizer)([{**options, "params": [weight]}], **optimizer.defaults)
        with torch.random.fork_rng(devices=[]):
            probe.step()
    except Exception:  # noqa: BLE001 - one that wants a closure or a weight of another shape
        return None
    return dict(probe.state[weight])


def _alike(place: str, own: object, given: object) -> Iterator[str]:
    """Yield where values differ in structure or type; a setting that is None by default may be anything plain."""
    if isinstance(own, dict):
        if not isinstance(given, dict):
            yield f"{place!r} is {kind(given)}, expected a dictionary"
            return
        for key in own:
            if key in given:
                yield from _alike(f"{place}.{key}", own[key], given[key])
            elif own[key] is not None and not isinstance(own[key], bool):  # switches come and go with torch's versions
                yield f"'{place}.{key}' is missing"
        for key, value in given.items():
            if key not in own and value is not None and not isinstance(value, bool):
                yield f"'{place}.{key}' is not known"
    elif isinstance(own, list | tuple):
        if not isinstance(given, list | tuple) or len(given) != len(own):
            size = f"{len(given)} values" if isinstance(given, list | tuple) else kind(given)
            yield f"{place!r} is {size}, expected {len(own)} values"
            return
        for number, (mine, other) in enumerate(zip(own, given, strict=True)):
            yield from _alike(f"{place}.{number}", mine, other)
    elif isinstance(own, bool) or own is None:
        if not ((given is None and own is None) or isinstance(given, bool)):
            yield f"{place!r} is {kind(given)}, expected {'nothing' if own is None else 'true or false'}"
    elif isinstance(own, int | float):
        if (
            not isinstance(given, int | float)
            or isinstance(given, bool)
            or (math.isfinite(own) and not (math.isfinite(given) and abs(given) < 2**48))
        ):
            yield f"{place!r} is {kind(given)}, expected a number"
    elif isinstance(own, Tensor):
        if not isinstance(given, Tensor) or given.shape != own.shape:
            yield f"{place!r} is {kind(given)}, expected a tensor of shape {tuple(own.shape)}"
    elif type(given) is not type(own):
        yield f"{place!r} is {kind(given)}, expected {type(own).__name__}"


def _names(values: dict[str, object]) -> str:
    return ", ".join(sorted(map(str, values))[:4]) or "nothing"
