"""What the methods of this package share: groups of a batch, an evaluation by group, the choice of the best epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypedDict

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from medzoo.core.classifier.module import Classifier
from medzoo.core.errors import ConfigError
from medzoo.core.optim.schedules import adamw
from medzoo.core.sample import Batch
from medzoo.core.tasks.classification import class_columns
from medzoo.fairness.evaluation import GroupEvaluation

Select = Literal["overall", "worst", "utopia"]
SELECTS: tuple[Select, ...] = ("overall", "worst", "utopia")


class ClassOptions(TypedDict, total=False):
    """Those of `GroupMethod`."""

    classes: list[str] | None
    multi_label: bool | None
    channels: int | None
    backbone: str
    weights: str | None
    size: int | list[int]
    dropout: float
    lr: float
    epochs: int
    steps: int | None
    batch: int


class GroupMethod(Classifier):
    """A classifier whose test and validation are judged group by group.

    A subclass that reads the groups of a batch takes the arguments `attribute` and `groups`, None until the data tell
    them. One that lets the user choose what marks the best epoch takes `select`: `overall` (macro AUROC of all
    images), `worst` (that of the worst group) or `utopia` (the distance of both to 1). It hands the options below on as
    `**kwargs`.

    Args:
        classes: Names of the classes; empty: those of the data.
        multi_label: Whether several may hold at once; empty: as in the data.
        channels: Channels of the images; empty: as in the data.
        backbone: Network of timm.
        weights: File with weights of the timm network; empty: random ones.
        size: Height and width of the images, one number for a square.
        dropout: Part of the features that the head drops in training.
        lr: Highest learning rate of AdamW; it rises over a tenth of the steps and falls to 0 by a cosine.
        epochs: Epochs.
        steps: Steps instead of epochs.
        batch: Images a batch.
    """

    monitor: ClassVar[str] = "val/choice"
    monitor_mode: ClassVar[str] = "max"
    needs_groups: bool = True
    """Whether training reads the groups, so that the data must have them."""
    lookup: list[int] | None = None
    """Number in the model of each group of the data; None where they are the same."""

    def __init__(
        self,
        classes: list[str] | None = None,
        multi_label: bool | None = None,
        channels: int | None = None,
        backbone: str = "resnet18",
        weights: str | None = None,
        size: int | list[int] = [224, 224],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        dropout: float = 0.0,
        lr: float = 1e-3,
        epochs: int = 30,
        steps: int | None = None,
        batch: int = 32,
    ) -> None:
        super().__init__(
            classes=classes, multi_label=multi_label, channels=channels, backbone=backbone, weights=weights, size=size,
            dropout=dropout, lr=lr, epochs=epochs, steps=steps, batch=batch,
        )  # fmt: skip

    def configure_model(self) -> None:
        """Take the groups from the training images where neither an option nor a checkpoint has them."""
        lacking = "groups" in self.hparams and self.hparams["groups"] is None
        if lacking and self.needs_groups and self.data is not None:
            attribute, _ = attribute_of(self.data, self.hparams["attribute"])
            self.hparams["attribute"], self.hparams["groups"] = attribute, trained_groups(self.data, attribute)
        super().configure_model()

    def setup(self, stage: str) -> None:
        """Look up which group of the data is which of the model.

        Raises:
            ConfigError: It is to be trained on data that have no such attribute, or none of its groups.
        """
        super().setup(stage)
        if stage == "fit" and self.needs_groups and self.data is not None:
            groups = self.hparams["groups"]
            self.hparams["attribute"], _ = attribute_of(self.data, self.hparams["attribute"], groups)
        if self.hparams.get("groups"):
            self.lookup = group_lookup(self.data, self.hparams["attribute"], self.hparams["groups"])

    def codes(self, batch: Batch) -> Tensor:
        """Return the group of each image, `(B,)` int64; −1 where it is unknown or none that the model knows."""
        return group_codes(batch, self.hparams["attribute"], self.lookup)

    def new_evaluation(self, stage: Literal["validate", "test"]) -> GroupEvaluation:
        """Return an evaluation by group; a test has intervals."""
        return GroupEvaluation(
            *self.given,
            spread=stage == "test",
            group_names=groups_of(self.data),
            bias=getattr(self.data, "bias", None),
            shares=shares_of(self.data),
        )

    def validation_scores(self, scores: Mapping[str, float | Tensor]) -> dict[str, float | Tensor]:
        """Add the figures of the groups, and the one that marks the best epoch."""
        found = super().validation_scores(scores)
        for name in ("worst_auc", "utopia", "eodd_max", "conflict_auc"):
            values = [float(v) for key, v in scores.items() if key.rpartition("/")[2] == name and self._own(key)]
            if values:
                found[name] = sum(values) / len(values)
        chosen = {"overall": "auroc", "worst": "worst_auc", "utopia": "utopia"}[self.hparams.get("select", "overall")]
        if chosen in found:
            found["choice"] = -found[chosen] if chosen == "utopia" else found[chosen]
        return found

    def label_counts(self) -> tuple[Tensor, Tensor]:
        """Return how many training images have each label of the model, and of how many that is known, `(C,)` each."""
        columns = class_columns(self._answer(torch.zeros(0)), *self.given)
        have, known = (torch.zeros(len(self.hparams["classes"])) for _ in range(2))
        have[columns], known[columns] = (torch.tensor(v, dtype=torch.float32) for v in self.data.counts())
        return have, known

    def _own(self, key: str) -> bool:
        """Whether a figure `<source>/<attribute>/<name>` is of the model's attribute, or it has none."""
        attribute = self.hparams.get("attribute")
        return attribute is None or key.split("/")[-2] == attribute


class DebiasingMethod(GroupMethod):
    """A classifier of exclusive classes that is not told the bias of its data: training reads no groups."""

    needs_groups = False
    most_classes: ClassVar[int | None] = None
    """Classes that the method can tell apart; None for any number."""

    def build(self) -> None:
        """Make the network.

        Raises:
            ConfigError: The data have several labels an image, or more classes than the method is for.
        """
        classes, several, most = self.hparams["classes"], self.hparams["multi_label"], self.most_classes
        if classes and (several or (most is not None and len(classes) > most)):
            have = "several labels an image" if several else f"{len(classes)} classes"
            wanted = "one class an image" if most is None else f"{most} exclusive classes"
            raise ConfigError(f"--data: has {have}, the method is for {wanted}; choose other data")
        super().build()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with warm-up and cosine decay, at the rate of the stage."""
        return adamw(self, self.stage_hparam("lr"))


def check_shares(**values: float) -> None:
    """Refuse options of a model that are not above 0 and at most 1.

    Args:
        values: By name.
    """
    for name, value in values.items():
        if not 0 < value <= 1:
            raise ConfigError(f"--model.{name}: expected more than 0 to 1, got {value}")


def group_codes(batch: Batch, attribute: str, lookup: Sequence[int] | None = None) -> Tensor:
    """Return the group of each image, `(B,)` int64; −1 where it is unknown.

    Args:
        batch: With `groups`, where they are known.
        attribute: Which of them.
        lookup: Number to return for each of the data's; None where they are the same.
    """
    found = [groups.get(attribute, -1) for groups in batch.get("groups", [{}] * len(batch["id"]))]
    if lookup is not None:
        found = [lookup[code] if code >= 0 else -1 for code in found]
    return torch.tensor(found, device=batch["image"].device)


def group_lookup(data: object, attribute: str, groups: Sequence[str]) -> list[int] | None:
    """Return the number in a model of each group of the data, −1 of one that it does not know; None where all are so.

    Args:
        data: The data module, or None.
        attribute: Which of its attributes.
        groups: The model's, in the order of their numbers.
    """
    names = list(groups_of(data).get(attribute, ()))
    if names in ([], list(groups)):
        return None
    return [groups.index(name) if name in groups else -1 for name in names]


def groups_of(data: object) -> dict[str, tuple[str, ...]]:
    """Return the values of each sensitive attribute of a data module; empty where it has none."""
    if data is None:
        return {}
    getattr(data, "cases", None)  # a table tells its groups once it is read
    return dict(getattr(data, "group_names", {}))


def trained_groups(data: Any, attribute: str) -> list[str]:
    """Return the groups that training images are of: others are unknown to the model, which never learns of them.

    Raises:
        ConfigError: There are fewer than two.
    """
    codes = {item.groups.get(attribute, -1) for item in data.cases.parts["train"]}
    found = [name for code, name in enumerate(groups_of(data)[attribute]) if code in codes]
    if len(found) < 2:
        have = f"{len(found)}, {found[0]}" if found else "none"
        raise ConfigError(f"--model.attribute {attribute}: expected training images of two groups or more, got {have}")
    return found


def shares_of(data: Any) -> dict[str, float]:
    """Return the part of the training images that have each label; empty of exclusive classes, or without images."""
    if data is None or not data.multi_label or not data.cases.parts["train"]:
        return {}
    have, known = data.counts()
    return {name: count / max(1, total) for name, count, total in zip(data.classes, have, known, strict=True)}


def attribute_of(
    data: object, attribute: str | None, groups: Sequence[str] | None = None
) -> tuple[str, tuple[str, ...]]:
    """Return the sensitive attribute that is meant, and its values.

    Args:
        data: The data module.
        attribute: As given; None where the data have one only.
        groups: Those of the model, where it has some.

    Raises:
        ConfigError: The data have none or no such one, several of which none is named, or fewer than two values; or
            none of the model's groups is among these.
    """
    known = groups_of(data)
    name = attribute if attribute is not None or len(known) != 1 else next(iter(known))
    if name is None or name not in known:
        names = ", ".join(known) or "none; see --data.groups of classes-table"
        raise ConfigError(f"--model.attribute: expected a sensitive attribute of the data ({names}), got {attribute}")
    if groups and not set(groups) & set(known[name]):
        have = ", ".join(known[name]) or "none"
        raise ConfigError(f"--model.groups: the data have {have} of {name}, and none of {', '.join(groups)}")
    if not groups and len(known[name]) < 2:
        raise ConfigError(f"--model.attribute {name}: expected two groups or more in the data, got {len(known[name])}")
    return name, known[name]
