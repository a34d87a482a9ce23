"""Callbacks of every run: exact resume, checkpoints, one table of epochs, signals, and a guard against NaN."""

from __future__ import annotations

from medzoo.core.runs.callbacks.checkpoints import RunCheckpoints
from medzoo.core.runs.callbacks.guards import FiniteGuard, StepSeed
from medzoo.core.runs.callbacks.names import BEST, LAST
from medzoo.core.runs.callbacks.signals import StopSignals
from medzoo.core.runs.callbacks.table import EpochTable

__all__ = ["BEST", "LAST", "EpochTable", "FiniteGuard", "RunCheckpoints", "StepSeed", "StopSignals"]
