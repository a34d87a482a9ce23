"""The base of methods that score records by what cannot be restored of them."""

from __future__ import annotations

import math
from typing import Literal, Never, TypedDict

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from medzoo.anomaly.restoration.losses import (
    PATCHES,
    normalised,
    random_patches,
    random_run,
    restoration_loss,
    trend_of,
)
from medzoo.anomaly.restoration.network import CrossRestoration, Restored
from medzoo.anomaly.restoration.scoring import cut, score_record, windows
from medzoo.core.data.wants import Wants
from medzoo.core.distributed import gather_all
from medzoo.core.errors import ConfigError, check_choice
from medzoo.core.method import Method
from medzoo.core.runs.schema import check_field
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import Evaluation, Prediction
from medzoo.core.tasks.classification import ClassificationOutputs
from medzoo.core.tasks.finite import places, require_finite
from medzoo.core.tasks.signals import SignalEvaluation, SignalOutputs, predictions

_NONE = -1.0  # no threshold was chosen; scores are never negative
_TREND, _SMOOTH = 0.02, 0.03  # seconds of the moving average, and by which maps are smoothed


class RestorationOptions(TypedDict, total=False):
    """The options of `Restoration` as types, see `medzoo.core.data.options`."""

    rate: float
    length: int
    beat: int
    widths: list[int]
    hidden: int
    tail: int
    norm: str
    normalise_test: bool
    masked: float
    masked_trend: bool
    least_log_variance: float
    largest_log_variance: float
    beats: int
    false_alarms: float
    batch: int
    epochs: int
    lr: float
    weight_decay: float


class Restoration(Method):
    """Trains on normal records, masked, and scores by the errors of what is restored.

    A subclass hands these options on, then calls `build`.

    Args:
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
        self.save_hyperparameters()  # those of the subclass too

    def build(self, channels: int) -> None:
        """Check the arguments and make the network.

        Args:
            channels: Rows of what the network sees.

        Raises:
            ConfigError: An argument is wrong.
        """
        hp = self.hparams
        check_choice("model.norm", hp["norm"], ("lead", "robust", "millivolts"))
        for option in ("masked", "false_alarms"):
            if not 0 <= hp[option] < 1:
                raise ConfigError(f"--model.{option}: expected from 0 to below 1, got {hp[option]}")
        spread = hp["least_log_variance"], hp["largest_log_variance"]
        if not hp["rate"] > 0 or hp["beat"] > hp["length"] or hp["beats"] < 0 or spread[0] >= spread[1]:
            raise ConfigError(
                "--model: expected a rate above 0, a beat no longer than the record, beats of at least 0 and "
                "least_log_variance below largest_log_variance"
            )
        if hp["length"] < PATCHES:
            raise ConfigError(f"--model.length: expected at least {PATCHES}, the patches to hide, got {hp['length']}")
        try:
            self.net = CrossRestoration(
                channels, hp["length"], hp["beat"], hp["widths"], hp["hidden"], hp["tail"], spread
            )
        except ValueError as error:
            raise ConfigError(f"--model.length: {error}") from error
        self.trend = max(2, round(_TREND * hp["rate"]))
        self.threshold: Tensor
        self.register_buffer("threshold", torch.tensor(_NONE))
        self.point_threshold: Tensor
        self.register_buffer("point_threshold", torch.tensor(_NONE))
        self.seen_leads: tuple[str, ...] = ()
        """Names of the leads of the training, which checkpoints keep."""
        self.known_leads: tuple[str, ...] = ()
        """Those that the checkpoint has, by which records of another order are read."""
        self.normal_scores: list[tuple[float, float]] = []
        """Of each normal validation record its score and the largest value of its map."""

    def wants(self) -> Wants:
        """Return the shape, rate, leads and number of records a batch."""
        hp = self.hparams
        return Wants((self.leads, hp["length"]), hp["batch"], rate=hp["rate"], leads=self.known_leads)

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Keep the names of the leads."""
        checkpoint["leads"] = list(self.seen_leads or self.known_leads)

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Take them over.

        Raises:
            CheckpointError: They are not what was saved.
        """
        leads = checkpoint.get("leads", [])  # those of earlier versions have none
        names = isinstance(leads, list) and len(leads) in (0, self.leads) and all(isinstance(n, str) for n in leads)
        check_field("leads", names, f"{self.leads} names")
        assert isinstance(leads, list)
        self.known_leads = tuple(leads)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Restore records and one random beat of each."""
        made, losses = self.restored(batch)
        losses |= self.more_losses(made, batch)
        loss = torch.stack(list(losses.values())).sum()
        size = len(batch["signal"])
        self.log_dict({f"train/{name}": value for name, value in losses.items()}, batch_size=size)
        self.log("train/loss", loss, batch_size=size)
        return loss

    def restored(self, batch: Batch) -> tuple[Restored, dict[str, Tensor]]:
        """Return what is made of masked records and of a masked beat of each, and the losses by name."""
        signal, hp = self.shown(self.records(batch)), self.hparams
        starts = torch.stack([self.random_start(beats) for beats in batch["beats"]])
        raw = torch.cat([cut(x, s, hp["beat"]) for x, s in zip(signal, starts, strict=True)])
        record, beat = normalised(signal, hp["norm"]), normalised(raw, hp["norm"])
        hidden = record * random_patches(record, hp["masked"])
        slope = trend_of(hidden if hp["masked_trend"] else record, self.trend)
        made = self.net(hidden, beat * random_run(beat, hp["masked"]), slope)
        return made, {
            "record": restoration_loss(made.signal, record, made.signal_spread),
            "beat": restoration_loss(made.beat, beat, made.beat_spread),
            "trend": (made.trend - record).square().mean(),
        }

    @property
    def leads(self) -> int:
        """Leads of a record."""
        return int(self.hparams["leads"])

    def more_losses(self, made: Restored, batch: Batch) -> dict[str, Tensor]:
        """Return further terms of the loss by name."""
        del made, batch
        return {}

    def shown(self, records: Tensor) -> Tensor:
        """Return what the network sees of records `(B, L, T)`, before scaling."""
        return records

    def in_leads(self, heat: Tensor) -> Tensor:
        """Bring the map of what the network sees to that of the leads, `(L, T)`."""
        return heat

    def random_start(self, beats: Tensor) -> Tensor:
        """Draw the window of a beat, `(1,)`; anywhere in a record without one."""
        length, beat = self.hparams["length"], self.hparams["beat"]
        known = windows(beats, length, beat)
        if len(known):
            return known[torch.randint(len(known), (1,), device=known.device)]
        return torch.randint(length - beat + 1, (1,), device=beats.device)

    def scored_starts(self, beats: Tensor) -> Tensor:
        """Return the windows of the beats to score, `(N,)`; the record's middle where none is whole.

        Without the terms of a beat such a record, in standstill perhaps, would score lower than any other.
        """
        length, beat = self.hparams["length"], self.hparams["beat"]
        known = spread_evenly(windows(beats, length, beat), self.hparams["beats"])
        return known if len(known) else torch.tensor([(length - beat) // 2], device=beats.device)

    def records(self, batch: Batch) -> Tensor:
        """Return the signals of a batch.

        Raises:
            ConfigError: They have another shape than the network was made for.
        """
        signal: Tensor = batch["signal"]
        wanted = self.leads, self.hparams["length"]
        if tuple(signal.shape[1:]) != wanted:
            have = " × ".join(map(str, signal.shape[1:]))
            raise ConfigError(
                f"--model: made for {wanted[0]} leads of {wanted[1]} samples, got {have}; "
                "give --model.leads and --model.length that fit the data"
            )
        if self.training and "leads" in batch:
            self.seen_leads = tuple(batch["leads"][0])
        return signal

    def outputs(self, batch: Batch) -> SignalOutputs | ClassificationOutputs:
        """Return scores and maps, or what a subclass makes of tokens in a later stage."""
        return self.scored(batch)

    def scored(self, batch: Batch) -> SignalOutputs:
        """Return scores and maps.

        Raises:
            ConfigError: The records have another shape than the network was made for.
            DataError: A score is not finite.
        """
        hp, scores, maps = self.hparams, [], []
        records, smooth = self.shown(self.records(batch)), _SMOOTH * hp["rate"]
        seen = normalised(records, hp["norm"]) if hp["normalise_test"] else records
        for signal, record, beats in zip(records, seen, batch["beats"], strict=True):
            starts = self.scored_starts(beats)
            args = hp["beat"], hp["norm"], self.trend, smooth, hp["masked_trend"]
            score, heat = score_record(self.net, signal, record, starts, *args)
            scores.append(score)
            maps.append(self.in_leads(heat))
        require_finite(scores, places(batch))
        limits = [math.nan if limit < 0 else float(limit) for limit in (self.threshold, self.point_threshold)]
        return SignalOutputs(torch.stack(scores), torch.stack(maps), *limits)

    def new_evaluation(self, stage: Literal["validate", "test"]) -> Evaluation[Never] | None:
        """Return an evaluation on known anomalies; a validation chooses the threshold instead."""
        return SignalEvaluation(self.device) if stage == "test" else None

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score the normal records."""
        self.note_normal(self.scored(batch), batch["label"] == 0)

    def note_normal(self, outputs: SignalOutputs, normal: Tensor) -> None:
        """Keep what thresholds are chosen from.

        Args:
            outputs: Of a batch.
            normal: `(B,)` bool.
        """
        peaks = outputs.maps.flatten(1).amax(1)
        pairs = zip(outputs.scores.tolist(), peaks.tolist(), normal.tolist(), strict=True)
        self.normal_scores += [(score, peak) for score, peak, known in pairs if known]

    def on_validation_epoch_end(self) -> None:
        """Choose the thresholds that a share of normal records exceeds, by its score or anywhere in its map."""
        noted, self.normal_scores = gather_all(self.normal_scores), []
        if noted:
            scores, peaks = torch.tensor(noted).unbind(1)
            for threshold, values in ((self.threshold, scores), (self.point_threshold, peaks)):
                threshold.fill_(torch.quantile(values, 1 - self.hparams["false_alarms"]))
            self.log("val/normal_score", scores.mean())

    def predictions(self, batch: Batch, outputs: SignalOutputs | ClassificationOutputs) -> list[Prediction]:
        """Return score and map of each record."""
        assert isinstance(outputs, SignalOutputs)
        return predictions(batch, outputs)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with a cosine over the epochs."""
        lr, epochs = self.stage_hparam("lr"), max(1, self.stage_hparam("epochs"))
        optimizer = torch.optim.AdamW(self.parameters(), lr, weight_decay=self.hparams["weight_decay"])
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda epoch: 0.5 + 0.5 * math.cos(math.pi * min(1.0, epoch / epochs))
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}


def spread_evenly(starts: Tensor, count: int) -> Tensor:
    """Choose some windows, evenly; all for 0."""
    if not count or len(starts) <= count:
        return starts
    return starts[torch.linspace(0, len(starts) - 1, count, device=starts.device).round().long()]
