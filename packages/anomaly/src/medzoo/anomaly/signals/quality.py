"""What is remarkable of a record as it was stored, to be read beside its score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medzoo.anomaly.signals.leads import lead_names
from medzoo.anomaly.signals.prepare import Samples

_FEW = 4
"""Fewest beats that a score by beats is worth something with."""
_CLIPPED, _HELD = 0.002, 0.02
"""Share of a lead at its limit that counts as clipped, and seconds that it stays there."""
_APART = 0.3
"""Part of its own size by which lead III may differ from II − I."""


def remarks(signal: Samples, rate: float, leads: Sequence[str], wanted: Sequence[str], beats: int) -> list[str]:
    """Return a remark for each thing that was mended, or that makes a score doubtful.

    Args:
        signal: `(L, n)` mV as stored, NaN where missing; the stretch that the network sees.
        rate: Samples a second.
        leads: Names of its rows.
        wanted: Names that the network sees.
        beats: Beats that were found in the stretch.
    """
    known, wanted = [name.casefold() for name in lead_names(leads)], lead_names(wanted)
    made = [name for name in wanted if name.casefold() not in known]
    found = [f"computed from other leads: {', '.join(made)}"] if made else []
    order = [known.index(name.casefold()) for name in wanted if name.casefold() in known]
    if order != sorted(order):
        found.append("leads were brought into the order of the network")
    for row, name in enumerate(leads):
        values = signal[row][np.isfinite(signal[row])]
        if len(values) < signal.shape[1]:
            found.append(f"lead {name}: {signal.shape[1] - len(values)} missing values were bridged")
        if len(values) and not np.ptp(values):
            found.append(f"lead {name} is flat")
        elif _clipped(values, rate):
            found.append(f"lead {name} is clipped")
    if {"i", "ii", "iii"} <= set(known):
        one, two, three = (np.nan_to_num(signal[known.index(name)]) for name in ("i", "ii", "iii"))
        rest = three - (two - one)
        if rest.std() > _APART * max(float(three.std()), float(one.std())):
            found.append("leads I, II and III do not fit each other: electrodes or names may be swapped")
    if beats < _FEW:
        found.append(f"{beats} beats were found" if beats != 1 else "1 beat was found")
    return found


def _clipped(values: Samples, rate: float) -> bool:
    """Return whether a lead stays at its greatest or least value for longer than peaks do."""
    need = max(3, round(_HELD * rate))
    for limit in (values.max(initial=-np.inf), values.min(initial=np.inf)):
        at = values == limit
        edges = np.flatnonzero(np.diff(np.pad(at.astype(np.int8), 1)))
        runs = edges[1::2] - edges[::2]
        if at.mean() > _CLIPPED and len(runs) and runs.max() >= need and len(values) > at.sum():
            return True
    return False
