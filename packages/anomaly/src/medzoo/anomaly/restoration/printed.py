"""The base of methods that learn printed records, and whose they are."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from medzoo.anomaly.restoration.attributes import ATTRIBUTES, AttributeHead, attribute_loss, attributes
from medzoo.anomaly.restoration.method import Restoration, RestorationOptions
from medzoo.anomaly.restoration.network import Restored
from medzoo.anomaly.restoration.printout import printout as printed
from medzoo.anomaly.restoration.printout import unprinted
from medzoo.anomaly.signals.leads import STANDARD
from medzoo.core.data.options import Unpack
from medzoo.core.data.wants import Wants
from medzoo.core.sample import Batch


class PrintedOptions(RestorationOptions, total=False):
    """The options of `PrintedRestoration` as types."""

    printout: bool
    attribute_weight: float
    head: list[int]


class PrintedRestoration(Restoration):
    """Restores 12-lead records as reports print them, and reads age, sex and heart rate from what restores them.

    Args:
        printout: See a record as a report prints it: three rows of four leads in turn, and lead II.
        attribute_weight: Weight of the loss on age, sex and heart rate.
        head: Widths of the layers that read attributes.
        kwargs: Options of all methods of restoration.
    """

    def __init__(
        self,
        printout: bool = True,
        attribute_weight: float = 1.0,
        head: list[int] = [1360, 136],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        **kwargs: Unpack[RestorationOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.build(4 if printout else 12)
        self.head = AttributeHead(2 * self.hparams["hidden"] * self.net.tokens[0], head, len(ATTRIBUTES))

    @property
    def leads(self) -> int:
        """Those of the records, whatever is shown of them."""
        return 12

    def wants(self) -> Wants:
        """Return those of all restoration; a printout has its leads in the standard order."""
        found = super().wants()
        return replace(found, leads=STANDARD) if self.hparams["printout"] else found

    def shown(self, records: Tensor) -> Tensor:
        """Return the printout `(B, 4, T)`, or the records."""
        return printed(records) if self.hparams["printout"] else records

    def in_leads(self, heat: Tensor) -> Tensor:
        """Bring a map to 12 leads."""
        return unprinted(heat) if self.hparams["printout"] else heat

    def more_losses(self, made: Restored, batch: Batch) -> dict[str, Tensor]:
        """Return the loss on the attributes."""
        known = attributes(batch["age"], batch["sex"], batch["beats"], self.hparams["rate"]).to(made.tokens)
        return {"attributes": self.hparams["attribute_weight"] * attribute_loss(self.head(made.tokens), known)}
