"""The options of `SignalDataModule` as types, see `medzoo.core.data.options`."""

from __future__ import annotations

from typing import TypedDict


class SeriesOptions(TypedDict, total=False):
    """Those that all data of signals have."""

    rate: float | None
    seconds: float | None
    batch_size: int | None
    num_workers: int
    seed: int
    cache_mb: int


class SignalOptions(SeriesOptions, total=False):
    """Those of records with named leads and a known rate."""

    leads: list[str] | None
    band: list[float]
