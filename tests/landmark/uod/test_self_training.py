"""Labels of UOD's own making: when they replace those of stage 1, whose they are, and how a checkpoint keeps them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medzoo.core.errors import CheckpointError
from medzoo.landmark.pseudo import PseudoLabels
from medzoo.landmark.uod import self_training
from medzoo.landmark.uod.self_training import SelfTraining, own_labels, relabel

POINTS = {"head": {"a": torch.ones(2, 2)}}
SCORES = {"head": {"a": torch.ones(2)}}


class Trained(SelfTraining):
    """A method without networks, in stage 2 with the labels of stage 1."""

    def __init__(self, self_training: float = 0.5) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.hparams["domains"] = {"head": ["x", "y"], "hand": ["z"]}
        self.names, self.stage = ["head", "hand"], "stage2"
        self.labels = PseudoLabels(
            self.hparams["domains"],
            {"head": {"a": torch.zeros(2, 2)}, "hand": {"b": torch.zeros(1, 2)}},
            {"head": {"a": torch.zeros(2)}, "hand": {"b": torch.zeros(1)}},
        )

    build = start = detection_loss = detect = None  # type: ignore[assignment]


def at(
    method: Trained, monkeypatch: pytest.MonkeyPatch, epoch: int, done: float, rehearses: tuple[int, ...] = ()
) -> list[bool]:
    """Begin an epoch after a share `done`; return for each labelling whether the self-training had begun."""
    calls: list[bool] = []

    class Rehearsals(SimpleNamespace):
        def __bool__(self) -> bool:
            return bool(rehearses)

    def labelled(_: Any, begun: bool) -> PseudoLabels:
        calls.append(begun)
        return PseudoLabels(method.hparams["domains"], dict(POINTS), dict(SCORES))

    method.rehearsals = Rehearsals(share_done=done, running=False, by_domain=dict.fromkeys(rehearses))  # type: ignore[assignment]
    monkeypatch.setattr(Trained, "current_epoch", epoch)
    monkeypatch.setattr(self_training, "relabel", labelled)
    method.on_train_epoch_start()
    return calls


@pytest.mark.parametrize(
    ("share", "epoch", "done", "labels"),
    [(0.5, 4, 0.4, []), (0.5, 5, 0.5, [True]), (0.5, 9, 0.9, [True]), (1.0, 9, 0.9, []), (0.0, 0, 0.0, [])],
)
def test_own_labels_begin_at_their_share_and_never_before_the_second_epoch(
    monkeypatch: pytest.MonkeyPatch, share: float, epoch: int, done: float, labels: list[bool]
) -> None:
    method = Trained(share)
    assert at(method, monkeypatch, epoch, done) == labels
    assert method.own_labels_of == (epoch if labels else None)


def test_each_epoch_is_labelled_once_also_after_a_resume_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    method = Trained(0.5)
    assert at(method, monkeypatch, 5, 0.5) == [True]
    assert at(method, monkeypatch, 5, 0.5) == []
    assert at(method, monkeypatch, 6, 0.6) == [True]


def test_after_a_rehearsal_labels_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    method = Trained(1.0)
    assert at(method, monkeypatch, 7, 0.7, rehearses=(0,)) == [False]
    assert at(method, monkeypatch, 8, 0.8, rehearses=(0,)) == []


def test_stage_1_makes_no_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    method = Trained(0.0)
    method.stage = "stage1"
    assert at(method, monkeypatch, 3, 0.9) == []


@pytest.mark.parametrize(("begun", "kept"), [(False, True), (True, False)])
def test_domains_without_rehearsal_keep_their_labels_until_self_training(
    monkeypatch: pytest.MonkeyPatch, begun: bool, kept: bool
) -> None:
    method = Trained()
    method.rehearsals = SimpleNamespace(by_domain={0: None})  # type: ignore[assignment]
    ours = PseudoLabels(
        method.hparams["domains"],
        {"head": {"a": torch.ones(2, 2)}, "hand": {"b": torch.ones(1, 2)}},
        {"head": {"a": torch.ones(2)}, "hand": {"b": torch.ones(1)}},
    )
    modes: list[bool] = []
    monkeypatch.setattr(self_training, "label_training_images", lambda m: modes.append(m.training) or ours)
    made = relabel(method, begun)
    assert made.points["head"]["a"].sum() == 4
    assert (made.points["hand"]["b"].sum() == 0) == kept
    assert (made.scores["hand"]["b"].sum() == 0) == kept
    assert modes == [False], "images are labelled in evaluation mode"
    assert method.training


def test_a_checkpoint_keeps_own_labels_and_only_these() -> None:
    method, checkpoint = Trained(), dict[str, object]()
    method.on_save_checkpoint(checkpoint)
    assert "own_labels" not in checkpoint
    method.own_labels_of = 3
    method.on_save_checkpoint(checkpoint)
    other = Trained()
    other.labels = None
    other.on_load_checkpoint(checkpoint)
    assert other.own_labels_of == 3
    assert other.labels is not None
    assert torch.equal(other.labels.points["head"]["a"], torch.zeros(2, 2))


@pytest.mark.parametrize(
    "value",
    [
        None,
        "labels",
        (3, POINTS),
        ("3", POINTS, SCORES),
        (3, POINTS, {}),
        (3, [POINTS], [SCORES]),
        (3, {"head": torch.ones(2)}, {"head": torch.ones(2)}),
        (3, {"head": {"a": 1.0}}, {"head": {"a": 1.0}}),
    ],
)
def test_labels_of_another_form_are_refused(value: object) -> None:
    with pytest.raises(CheckpointError, match="own_labels"):
        own_labels(value)


def test_labels_of_the_right_form_are_taken() -> None:
    assert own_labels([3, POINTS, SCORES]) == [3, POINTS, SCORES]
