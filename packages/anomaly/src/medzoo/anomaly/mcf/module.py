"""MCF as a LightningModule."""

from __future__ import annotations

from medzoo.anomaly.restoration.method import Restoration, RestorationOptions
from medzoo.core.data.options import Unpack


class MCF(Restoration):
    """Scores records by what a network trained on normal ones cannot restore.

    Args:
        leads: Leads of a record.
        kwargs: Options of all methods of restoration.
    """

    def __init__(self, leads: int = 12, **kwargs: Unpack[RestorationOptions]) -> None:
        super().__init__(**kwargs)
        self.build(leads)
