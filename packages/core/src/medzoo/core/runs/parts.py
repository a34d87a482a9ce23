"""What a run is built from, and what one stage finds of an earlier one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

from lightning.pytorch import Callback, LightningModule, Trainer


class TrainerOptions(TypedDict, total=False):
    """What a run asks of its trainer."""

    callbacks: list[Callback]
    default_root_dir: str
    max_epochs: int
    max_steps: int
    strategy: str


class Results(TypedDict, total=False):
    """What `results.json` holds, as far as a later stage reads it."""

    status: str
    metrics: dict[str, float]
    hand_over: dict[str, object]


ModelBuilder = Callable[[dict[str, object]], LightningModule]
"""Builds the model with some of its `__init__` arguments replaced."""
TrainerBuilder = Callable[[TrainerOptions], Trainer]
"""Builds a trainer with some of its arguments replaced; `callbacks` are added to the user's."""
