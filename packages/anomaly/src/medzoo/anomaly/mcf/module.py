"""MCF as a LightningModule."""

from __future__ import annotations

from medzoo.anomaly.restoration.method import Restoration


class MCF(Restoration):
    """Scores records by what a network trained on normal ones cannot restore.

    Args:
        leads: Leads of a record.
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
        false_alarms: Share of normal validation records that the threshold calls abnormal.
        batch: Records a batch.
        epochs: Passes over the training records.
        lr: Learning rate of AdamW, lowered along a cosine once an epoch.
        weight_decay: Of AdamW.
    """

    def __init__(
        self,
        leads: int = 12,
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
        false_alarms: float = 0.05,
        batch: int = 32,
        epochs: int = 50,
        lr: float = 1e-4,
        weight_decay: float = 1e-5,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.build(leads)
