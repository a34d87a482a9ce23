"""Built-in electrocardiograms of 12 leads: normal ones to train on, ones with an anomaly to test on."""

from __future__ import annotations

from functools import partial

from medzoo.anomaly.signals.leads import STANDARD
from medzoo.anomaly.signals.module import Item, Items, SignalDataModule
from medzoo.anomaly.signals.options import SignalOptions
from medzoo.anomaly.signals.prepare import Record
from medzoo.core.data.module import check_drawn
from medzoo.core.data.options import Unpack
from medzoo.core.errors import ConfigError

_TEST, _VAL = 20_000, 10_000  # patients of test and validation are others than those of training
_RATE = 500.0


class EcgPhantoms(SignalDataModule):
    """Synthetic records of 10 s at 500 Hz; a code check, never a claim about hearts.

    Args:
        train: Normal records to train on.
        val: Normal records to choose the threshold on.
        test: Records to test on, every second one abnormal.
        kinds: Anomalies of the test records, in turn; empty: all that the phantom knows.
        severity: How marked they are, above 0 to 1.
        common: Options of all signal data.
    """

    def __init__(
        self,
        train: int = 400,
        val: int = 60,
        test: int = 204,
        kinds: list[str] | None = None,
        severity: float = 1.0,
        **common: Unpack[SignalOptions],
    ) -> None:
        super().__init__(**common)
        from medzoo.core.phantoms.ecg_anomalies import KINDS

        unknown = sorted(set(kinds or ()) - set(KINDS))
        if unknown:
            raise ConfigError(f"--data.kinds: expected some of {', '.join(KINDS)}; got {unknown[0]}")
        if not 0 < severity <= 1:
            raise ConfigError(f"--data.severity: expected above 0 to 1, got {severity}")
        check_drawn(train=train, val=val, test=test)
        self._counts, self._kinds, self._severity = (train, val, test), tuple(kinds or KINDS), severity

    def make_items(self) -> Items:
        """Number the patients."""
        train, val, test = self._counts
        base = 100_000 * self.seed
        kinds = [self._kinds[i // 2 % len(self._kinds)] if i % 2 else "" for i in range(test)]
        return Items(
            tuple(phantom_item(base + i, "", self._severity) for i in range(train)),
            tuple(phantom_item(base + _VAL + i, "", self._severity) for i in range(val)),
            tuple(phantom_item(base + _TEST + i, kind, self._severity) for i, kind in enumerate(kinds)),
        )


def phantom_item(patient: int, kind: str, severity: float, labels: tuple[float, ...] | None = None) -> Item:
    """Return a synthetic record that is drawn when it is needed.

    Args:
        patient: Seed of everything.
        kind: See `medzoo.core.phantoms.ecg.twelve_leads`.
        severity: How marked the anomaly is.
        labels: See `Item`.
    """
    name = f"phantom{patient:06d}"
    load = partial(_make, patient, kind, severity)
    return Item(name, name, load, label=int(bool(kind)), kind=kind, source="phantoms", labels=labels)


def _make(patient: int, kind: str, severity: float) -> Record:
    from medzoo.core.phantoms.ecg import twelve_leads

    made = twelve_leads(patient, 0, kind, severity, _RATE)
    return Record(made.signal, _RATE, STANDARD, made.beats, made.mask, made.age, float(made.sex))
