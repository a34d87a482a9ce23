"""Rare-ECG as a LightningModule."""

from __future__ import annotations

from typing import ClassVar

from medzoo.anomaly.diagnosis.method import Diagnosis, DiagnosisOptions
from medzoo.core.data.options import Unpack


class EcgRare(Diagnosis):
    """Diagnoses 12-lead records after pre-training that also learns age and sex, and compares groups of both.

    Args:
        kwargs: Options of all methods of diagnosis.
    """

    by_group: ClassVar[bool] = True

    def __init__(self, **kwargs: Unpack[DiagnosisOptions]) -> None:
        super().__init__(**kwargs)
