"""UOD's self-training: from some epoch of stage 2 on, the model trains on labels of its own making."""

from __future__ import annotations

from typing import cast

from torch import Tensor

from medzoo.core.runs.schema import check_field
from medzoo.landmark.labelling import label_training_images
from medzoo.landmark.pseudo import PseudoLabels
from medzoo.landmark.two_stages import MatchThenDetect

Tables = dict[str, dict[str, Tensor]]
"""A tensor an image, by domain and image name."""
OwnLabels = tuple[int, Tables, Tables]
"""Epoch, points and scores."""


class SelfTraining(MatchThenDetect):
    """A method whose stage 2 replaces the labels of stage 1; `self_training` and `rehearsal` say when."""

    own_labels_of: int | None = None
    """Epoch for which the model labelled the training images itself; None while the labels are those of stage 1."""

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Keep labels of its own making."""
        super().on_save_checkpoint(checkpoint)
        if self.labels is not None and self.own_labels_of is not None:
            checkpoint["own_labels"] = (self.own_labels_of, self.labels.points, self.labels.scores)

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Take the labels back.

        Raises:
            CheckpointError: They are not what was saved.
        """
        super().on_load_checkpoint(checkpoint)
        if "own_labels" in checkpoint:
            self.own_labels_of, points, scores = own_labels(checkpoint["own_labels"])
            self.labels = PseudoLabels(self.hparams["domains"], points, scores)

    def on_train_epoch_start(self) -> None:
        """Label the training images anew after the rehearsal, and in each epoch once the self-training has begun."""
        epoch = self.current_epoch
        itself = epoch >= 1 and self.rehearsals.share_done >= self.hparams["self_training"]
        rehearsed = bool(self.rehearsals) and not self.rehearsals.running and self.own_labels_of is None
        # A run that is resumed within an epoch has the labels of its beginning, from the checkpoint.
        if self.stage == "stage2" and (itself or rehearsed) and self.own_labels_of != epoch:
            self.labels, self.own_labels_of = relabel(self, begun=itself), epoch


def relabel(module: SelfTraining, begun: bool) -> PseudoLabels:
    """Label the training images with the model's own predictions.

    Args:
        module: The method, in stage 2.
        begun: The self-training has begun; before it, domains that are not rehearsed keep their labels.
    """
    assert module.labels is not None
    module.eval()
    own = label_training_images(module)
    module.train()
    kept = [] if begun else [n for i, n in enumerate(module.names) if i not in module.rehearsals.by_domain]
    own.points |= {name: module.labels.points[name] for name in kept}
    own.scores |= {name: module.labels.scores[name] for name in kept}
    return own


def own_labels(value: object) -> OwnLabels:
    """Return labels of a model's own making that a checkpoint holds.

    Raises:
        CheckpointError: They are not what was saved.
    """
    check_field("own_labels", _are_labels(value), "the labels that the first stage made")
    return cast(OwnLabels, value)


def _are_labels(made: object) -> bool:
    """Return whether a value is an epoch, points and scores, the latter by domain and image name."""
    if not isinstance(made, tuple | list) or len(made) != 3 or not isinstance(made[0], int):
        return False
    tables = [table for part in made[1:] if isinstance(part, dict) for table in part.values()]
    whole = isinstance(made[1], dict) and isinstance(made[2], dict) and made[1].keys() == made[2].keys()
    return whole and all(isinstance(t, dict) and all(isinstance(v, Tensor) for v in t.values()) for t in tables)
