"""SSL-AD as a LightningModule."""

from __future__ import annotations

from torch import Tensor

from medzoo.anomaly.ecg_ssl.losses import ATTRIBUTES, attribute_loss, attributes
from medzoo.anomaly.ecg_ssl.network import AttributeHead, printout, unprinted
from medzoo.anomaly.restoration.method import Restoration
from medzoo.anomaly.restoration.network import Restored
from medzoo.core.sample import Batch


class EcgSSL(Restoration):
    """Scores 12-lead records by what a network that knows normal ones, and whose they are, cannot restore.

    Args:
        printout: See a record as a report prints it: three rows of four leads in turn, and lead II.
        rate: Samples a second that the network sees.
        length: Samples of a record, a multiple of 32.
        beat: Samples of a beat, a multiple of 32.
        widths: Channels of the five halvings.
        hidden: Channels of the tokens.
        tail: Samples, of each 32, that the last convolution of an encoder sees.
        norm: How a record is scaled: lead (each lead to [-1, 1], as published), robust or millivolts.
        normalise_test: Scale records in test and prediction too; the public code's detection does not.
        masked: Share of a record and of a beat that is hidden in training.
        masked_trend: Take the trend of the masked record, so that it cannot tell what is hidden.
        least_log_variance: Least predicted log variance.
        largest_log_variance: Largest predicted log variance.
        beats: Beats of a record that are scored, spread evenly; 0 takes all.
        attribute_weight: Weight of the loss on age, sex and heart rate.
        head: Widths of the layers that read attributes.
        false_alarms: Share of normal validation records that the threshold calls abnormal.
        batch: Records a batch.
        epochs: Passes over the training records.
        lr: Learning rate of AdamW, lowered along a cosine once an epoch.
        weight_decay: Of AdamW.
    """

    def __init__(
        self,
        printout: bool = True,
        rate: float = 500.0,
        length: int = 4800,
        beat: int = 480,
        widths: list[int] = [32, 64, 128, 256, 512],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        hidden: int = 50,
        tail: int = 15,
        norm: str = "lead",
        normalise_test: bool = True,
        masked: float = 0.3,
        masked_trend: bool = False,
        least_log_variance: float = -1.0,
        largest_log_variance: float = 1.0,
        beats: int = 0,
        attribute_weight: float = 1.0,
        head: list[int] = [1360, 136],  # noqa: B006
        false_alarms: float = 0.05,
        batch: int = 32,
        epochs: int = 50,
        lr: float = 1e-4,
        weight_decay: float = 1e-5,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.build(4 if printout else 12)
        self.head = AttributeHead(2 * hidden * self.net.tokens[0], head, len(ATTRIBUTES))

    @property
    def leads(self) -> int:
        """Those of the records, whatever is shown of them."""
        return 12

    def shown(self, records: Tensor) -> Tensor:
        """Return the printout `(B, 4, T)`, or the records."""
        return printout(records) if self.hparams["printout"] else records

    def in_leads(self, heat: Tensor) -> Tensor:
        """Bring a map to 12 leads."""
        return unprinted(heat) if self.hparams["printout"] else heat

    def more_losses(self, made: Restored, batch: Batch) -> dict[str, Tensor]:
        """Return the loss on the attributes."""
        known = attributes(batch["age"], batch["sex"], batch["beats"], self.hparams["rate"]).to(made.tokens)
        return {"attributes": self.hparams["attribute_weight"] * attribute_loss(self.head(made.tokens), known)}
