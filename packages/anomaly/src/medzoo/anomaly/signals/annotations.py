"""Answers as WFDB annotations, which viewers show over the record."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from medzoo.anomaly.signals.files import wfdb
from medzoo.core.tasks.signals import SignalRecord

ANNOTATOR = "medzoo"
"""Ending of the files."""
_LONGEST = 250
"""Letters of a comment, whose number the format keeps in one byte."""
_COMMENT = '"'
"""The code of a comment, which no program counts as a beat."""


def write_annotations(records: Sequence[dict[str, object]], folder: Path) -> None:
    """Write `wfdb/NAME.medzoo` for each record: comments at its start and at the bounds of what is abnormal.

    The first says the score, its threshold, and where there are any the labels; `(abnormal II V1` and `)` stand
    where a part begins and ends. Samples are those of the record itself. NAME is its id, so that viewers find a copy
    beside the header.

    Args:
        records: See `medzoo.core.tasks.signals.SignalRecord`; those of `ecg-longtail` have labels too.
        folder: Of the predictions.

    Raises:
        ConfigError: The library wfdb is not installed.
    """
    library, target = wfdb(), folder / "wfdb"
    target.mkdir(exist_ok=True)
    used: set[str] = set()
    for number, each in enumerate(records):
        record = cast(SignalRecord, each)
        first = f"score {record['score']:.4g}, threshold {record['threshold']:.4g}"
        labels = each.get("prediction")
        if isinstance(labels, list):
            first += f"; {', '.join(map(str, labels)) or 'no label'}"
        notes = [(record["start"], first)]
        for span in record["spans"]:
            notes += [(span["start"], f"(abnormal {' '.join(span['leads'])}"), (span["end"], ")")]
        samples = np.array([round(time * record["rate"]) for time, _ in notes])
        texts = [text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..." for _, text in notes]
        name = re.sub(r"[^A-Za-z0-9_-]", "_", record["id"])  # wfdb takes no other letters
        name += f"_{number}" * (name in used)
        used.add(name)
        library.wrann(
            name, ANNOTATOR, samples, [_COMMENT] * len(notes), aux_note=texts, fs=record["rate"], write_dir=str(target)
        )
