"""The only file with private names of other libraries, each behind a function or name of our own.

An update of torch, torchmetrics, Lightning, jsonargparse or MONAI can break this file without notice, and no other.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import jsonargparse
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

BatchNorm = nn.modules.batchnorm._BatchNorm
"""Base of all batch normalisations."""
CLASS_PATH, INSTANTIATOR = "_class_path", "_instantiator"
"""Keys beside a checkpoint's settings with the class, and with what Lightning would call to build it."""

if TYPE_CHECKING:
    from argparse import Action, ArgumentParser
    from collections.abc import Mapping

    from lightning.pytorch import Trainer
    from lightning.pytorch.cli import LightningCLI
    from lightning.pytorch.trainer.connectors.logger_connector.result import _ResultMetric
    from monai.transforms import Randomizable
    from torchmetrics import Metric

__all__ = ["CLASS_PATH", "INSTANTIATOR", "BatchNorm", "TorchDispatchMode"]


def watched() -> bool:
    """Return whether operators must go through the dispatcher: torch.func, a mode or a trace is at work."""
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return True
    return bool(torch._C._are_functorch_transforms_active() or torch._C._len_torch_dispatch_stack())


def options_of(parser: ArgumentParser) -> list[Action]:
    """Return the actions of an argparse parser, which have `option_strings`, `dest` and `help`."""
    return parser._actions


def type_of(action: Action) -> object:
    """Return the annotation behind an option of jsonargparse, or the type of a plain one of argparse."""
    return getattr(action, "_typehint", None) or action.type


def read_numbers_with(loader: Callable[[str], object]) -> None:
    """Have jsonargparse read texts for options of numbers through `loader`; its own takes nesting of any depth."""
    vars(jsonargparse._typehints)["basic_json_or_yaml_load"] = loader


def keep_settings(cli: LightningCLI) -> None:
    """Have a LightningCLI note its settings for the checkpoints."""
    cli._dump_config()


def seed_as_asked(cli: LightningCLI) -> None:
    """Have a LightningCLI seed all random generators as `--seed_everything` asks."""
    cli._set_seed()


def synced(metric: Metric) -> AbstractContextManager[None]:
    """Return a context in which a metric's state is that of all processes, if it is to be gathered at this moment."""
    return metric.sync_context(
        dist_sync_fn=metric.dist_sync_fn, should_sync=metric._to_sync, should_unsync=metric._should_unsync
    )


def is_drawn(transform: Randomizable) -> bool:
    """Return whether a random transform of MONAI was drawn to be applied."""
    return bool(transform._do_transform)


def logged(trainer: Trainer) -> Mapping[str, _ResultMetric]:
    """Return what the running evaluation has logged so far, by hook and name, with how it was asked to log it.

    A value has `meta` (`forked_name(on_step)`, `on_epoch`, `reduce_fx`, `sync.should`, `metric_attribute`) and
    `is_tensor`, false for a torchmetrics metric.
    """
    return trainer._results or {}
