"""The only file with private names of other libraries, each behind a function or name of our own.

An update of torch, torchmetrics, Lightning, jsonargparse or MONAI can break this file without notice, and no other.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jsonargparse
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

BatchNorm = nn.modules.batchnorm._BatchNorm
"""Base of all batch normalisations."""
CLASS_PATH, INSTANTIATOR = "_class_path", "_instantiator"
"""Keys beside a checkpoint's settings with the class, and with what Lightning would call to build it."""

__all__ = ["CLASS_PATH", "INSTANTIATOR", "BatchNorm", "TorchDispatchMode"]


def watched() -> bool:
    """Return whether operators must go through the dispatcher: torch.func, a mode or a trace is at work."""
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return True
    return bool(torch._C._are_functorch_transforms_active() or torch._C._len_torch_dispatch_stack())


def options_of(parser: Any) -> list[Any]:
    """Return the actions of an argparse parser, which have `option_strings`, `dest` and `help`."""
    actions: list[Any] = parser._actions
    return actions


def read_numbers_with(loader: Callable[[str], Any]) -> None:
    """Have jsonargparse read texts for options of numbers through `loader`; its own takes nesting of any depth."""
    vars(jsonargparse._typehints)["basic_json_or_yaml_load"] = loader


def keep_settings(cli: Any) -> None:
    """Have a LightningCLI note its settings for the checkpoints."""
    cli._dump_config()


def seed_as_asked(cli: Any) -> None:
    """Have a LightningCLI seed all random generators as `--seed_everything` asks."""
    cli._set_seed()


def synced(metric: Any) -> AbstractContextManager[None]:
    """Return a context in which a metric's state is that of all processes, if it is to be gathered at this moment."""
    context: AbstractContextManager[None] = metric.sync_context(
        dist_sync_fn=metric.dist_sync_fn, should_sync=metric._to_sync, should_unsync=metric._should_unsync
    )
    return context


def is_drawn(transform: Any) -> bool:
    """Tell whether a random transform of MONAI was drawn to be applied."""
    return bool(transform._do_transform)


def logged(trainer: Any) -> dict[str, Any]:
    """Return what the running evaluation has logged so far, by hook and name, with how it was asked to log it.

    A value has `meta` (`forked_name(on_step)`, `on_epoch`, `reduce_fx`, `sync.should`, `metric_attribute`) and
    `is_tensor`, false for a torchmetrics metric.
    """
    found: dict[str, Any] = trainer._results or {}
    return found
