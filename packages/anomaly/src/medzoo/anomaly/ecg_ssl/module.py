"""SSL-AD as a LightningModule."""

from __future__ import annotations

from medzoo.anomaly.restoration.printed import PrintedOptions, PrintedRestoration
from medzoo.core.data.options import Unpack


class EcgSSL(PrintedRestoration):
    """Scores 12-lead records by what a network that knows normal ones, and whose they are, cannot restore.

    Args:
        kwargs: Options of all methods of restoration that learn printed records.
    """

    def __init__(self, **kwargs: Unpack[PrintedOptions]) -> None:
        super().__init__(**kwargs)
