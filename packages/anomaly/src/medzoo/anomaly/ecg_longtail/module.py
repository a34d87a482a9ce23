"""Long-tail diagnosis of electrocardiograms as a LightningModule."""

from __future__ import annotations

from medzoo.anomaly.diagnosis.method import Diagnosis, DiagnosisOptions
from medzoo.core.data.options import Unpack


class EcgLongtail(Diagnosis):
    """Diagnoses 12-lead records, rare diseases too, with encoders that have learnt to restore normal ones.

    Args:
        kwargs: Options of all methods of diagnosis.
    """

    def __init__(self, **kwargs: Unpack[DiagnosisOptions]) -> None:
        super().__init__(**kwargs)
