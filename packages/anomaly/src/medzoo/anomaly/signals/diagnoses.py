"""Built-in electrocardiograms with several labels, of which most are rare in training."""

from __future__ import annotations

import numpy as np

from medzoo.anomaly.signals.module import Item, Items, SignalDataModule
from medzoo.anomaly.signals.options import SignalOptions
from medzoo.anomaly.signals.phantoms import phantom_item
from medzoo.core.data.module import check_drawn
from medzoo.core.data.options import Unpack
from medzoo.core.errors import ConfigError

CLASSES = (
    "af", "lvh", "t_inversion", "pvc", "rbbb", "avb1", "st_depression", "apb", "long_qt", "lbbb", "tall_t",
    "st_inferior", "st_anterior", "flutter", "st_lateral", "vt", "lead_off",
)  # fmt: skip
"""From the most frequent to the rarest."""
_LATER = ("apb", "pvc", "vt", "af", "flutter", "lead_off")
"""Changes of rhythm, which take the beats as changes of shape have left them."""
_EXCLUSIVE = (
    {"rbbb", "lbbb"}, {"t_inversion", "tall_t"}, {"af", "flutter", "avb1", "apb"},
    {"st_depression", "st_inferior", "st_anterior", "st_lateral", "lbbb"}, {"pvc", "vt"},
)  # fmt: skip
"""Sets of which a record has one at most: the second would hide the first."""
_NORMAL, _VAL, _TEST = 10_000, 30_000, 20_000  # patients of the parts are others


class EcgDiagnoses(SignalDataModule):
    """Synthetic records of 10 s with up to two of 17 labels; a code check, never a claim about hearts.

    A model that wants no labels trains on the normal records. Of the labelled training records three in ten are
    normal, and label i of `diagnoses.CLASSES` is drawn with a chance that falls as `(i + 1)^-exponent`; of the records
    to test on a quarter is normal, and all labels are alike frequent, so that rare ones can be judged.

    Args:
        normal: Normal records to pre-train on.
        train: Labelled records to train on.
        val: Labelled records for validation.
        test: Labelled records to test on.
        exponent: How fast the frequencies fall in training; 0 makes all alike.
        second: Share of the abnormal records that have a second label.
        severity: How marked the anomalies are, above 0 to 1.
        common: Options of all signal data.
    """

    def __init__(
        self,
        normal: int = 400,
        train: int = 400,
        val: int = 40,
        test: int = 272,
        exponent: float = 1.2,
        second: float = 0.3,
        severity: float = 1.0,
        **common: Unpack[SignalOptions],
    ) -> None:
        super().__init__(**common)
        check_drawn(normal=normal, train=train, val=val, test=test)
        if not 0 <= exponent <= 5:
            raise ConfigError(f"--data.exponent: expected 0 to 5, got {exponent}")
        if not 0 <= second <= 1:
            raise ConfigError(f"--data.second: expected 0 to 1, got {second}")
        if not 0 < severity <= 1:
            raise ConfigError(f"--data.severity: expected above 0 to 1, got {severity}")
        self._counts, self._severity = (normal, train, val, test), severity
        self._exponent, self._second = exponent, second

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels."""
        return CLASSES

    @property
    def shares(self) -> tuple[float, ...]:
        """Part of the labelled training records with each label."""
        drawn = [self._kinds("train", index).split("+") for index in range(self._counts[1])]
        return tuple(sum(name in kinds for kinds in drawn) / max(1, len(drawn)) for name in CLASSES)

    def make_items(self) -> Items:
        """Number the patients."""
        base, (normal, train, val, test) = 100_000 * self.seed, self._counts
        learnt = [self._item(base + _NORMAL + i, "") for i in range(normal)]
        if self.wants.labels:
            learnt = [self._item(base + i, self._kinds("train", i)) for i in range(train)]
        return Items(
            tuple(learnt),
            tuple(self._item(base + _VAL + i, self._kinds("val", i)) for i in range(val)),
            tuple(self._item(base + _TEST + i, self._kinds("test", i)) for i in range(test)),
        )

    def _kinds(self, part: str, index: int) -> str:
        """Draw the labels of a record, joined in the order in which they are applied."""
        rng = np.random.default_rng((75, self.seed, ("train", "val", "test").index(part), index))
        chances = (np.arange(len(CLASSES)) + 1.0) ** -self._exponent
        if part == "train":
            if rng.random() < 0.3:
                return ""
            first = int(rng.choice(len(CLASSES), p=chances / chances.sum()))
        else:
            if index % 4 == 0:
                return ""
            first = (index - index // 4 - 1) % len(CLASSES)
        kinds = {CLASSES[first]}
        if rng.random() < self._second:
            left = [not any({CLASSES[first], name} <= own for own in _EXCLUSIVE) for name in CLASSES]
            left[first] = False
            open_ = np.where(left, chances if part == "train" else 1.0, 0.0)
            kinds.add(CLASSES[int(rng.choice(len(CLASSES), p=open_ / open_.sum()))])
        return "+".join(sorted(kinds, key=lambda name: (name in _LATER, CLASSES.index(name))))

    def _item(self, patient: int, kind: str) -> Item:
        labels = tuple(float(name in kind.split("+")) for name in CLASSES) if self.wants.labels else None
        return phantom_item(patient, kind, self._severity, labels)

    def summary(self, stage: str = "fit") -> list[str]:
        """Return the number of records, and how frequent the most and the least frequent label are in training."""
        counts = [round(share * self._counts[1]) for share in self.shares]
        extremes = f"labels: {max(counts)} records of {CLASSES[int(np.argmax(counts))]} down to {min(counts)}"
        return [*super().summary(stage), f"{extremes} of {CLASSES[int(np.argmin(counts))]} to train on"]
