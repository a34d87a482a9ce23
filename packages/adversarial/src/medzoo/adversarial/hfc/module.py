"""HFC as a method: a classifier, detectors of attacks on it, and attacks that hide in its features from all of them."""

from __future__ import annotations

from typing import Any, Literal, Never, cast

import torch
from torch import Tensor

from medzoo.adversarial.detectors import DETECTORS, Mixtures, Seen, Watched, suite
from medzoo.adversarial.detectors.mixtures import Covariance
from medzoo.adversarial.detectors.seen import joined
from medzoo.adversarial.engine import ATTACKS
from medzoo.adversarial.hfc.diagnostics import directions, some_of, stress
from medzoo.adversarial.hfc.learning import NOISE, learn
from medzoo.adversarial.hfc.report import HidingEvaluation
from medzoo.adversarial.hfc.trials import Experiment, Plan, noisy
from medzoo.adversarial.on_classifier import OnClassifier
from medzoo.adversarial.targets import other_classes
from medzoo.core.errors import ConfigError, check_choice
from medzoo.core.runs.schema import check_field
from medzoo.core.sample import Batch
from medzoo.core.seeding import derive_seed
from medzoo.core.tasks.base import Evaluation

_LOOKED = 16


class HFC(OnClassifier):
    """Hierarchical feature constraint (Yao 2021, 2023): do detectors see attacks that hide in the features of a class?

    Args:
        stage: `victim` (a classifier is trained), `attack` (detectors are fitted and tried) or `all`.
        victim: Name of a classification model that is trained, or a checkpoint of one that is taken as it is.
        victim_options: Options of the model that is trained.
        made: What a checkpoint knows of the victim; leave it alone.
        layers: Names of the victim's layers that are watched; empty: all its activations.
        max_channels: Layers with more features are watched and not constrained.
        components: Gaussians of each class and layer.
        covariance: `full`, or `shrunk` where training images are few.
        eps: Budget of the attacks, in [0, 1].
        attack_steps: Steps of plain attacks.
        hidden_steps: Steps of attacks with the constraint, which are as many times shorter.
        weight: Of the constraint beside the cross-entropy.
        attacks: Names of the attacks that are tried, each without and with the constraint.
        detectors: Names of the detectors that are fitted.
        seed: Of all that is random in attacks and detectors.
    """

    def __init__(
        self,
        stage: str = "victim",
        victim: str = "classifier",
        victim_options: dict[str, Any] | None = None,
        made: dict[str, Any] | None = None,
        layers: list[str] | None = None,
        max_channels: int = 512,
        components: int = 64,
        covariance: Covariance = "full",
        eps: float = 1 / 256,
        attack_steps: int = 10,
        hidden_steps: int = 80,
        weight: float = 1.0,
        attacks: tuple[str, ...] = tuple(ATTACKS),
        detectors: tuple[str, ...] = DETECTORS,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if not 0 < eps <= 1:
            raise ConfigError(f"--model.eps: expected above 0 and up to 1, got {eps}")
        if min(attack_steps, hidden_steps) < 1:
            raise ConfigError("--model.attack_steps, --model.hidden_steps: expected at least 1")
        if weight < 0:
            raise ConfigError(f"--model.weight: expected at least 0, got {weight}")
        for name in attacks:
            check_choice("model.attacks", name, list(ATTACKS))
        for name in detectors:
            check_choice("model.detectors", name, DETECTORS)
        Mixtures((), components, covariance)
        self.learned: dict[str, dict[str, Tensor]] = {}
        """States of the detectors, and of the mixtures, by name."""
        self.limits: dict[str, float] = {}
        """Thresholds of the detectors, and of the constraint, from clean images that nothing else has seen."""
        self.begin()

    def watched(self) -> Watched:
        """Return the classifier with its layers."""
        return Watched(self.classify, self.subject, self.hparams["layers"])

    def look(self) -> None:
        """Fit mixtures and detectors and choose thresholds, see `learn`.

        Raises:
            ConfigError: There are too few images that are right.
        """
        watched = self.watched()
        (train, _), (val, patients) = (self._look(watched, part) for part in ("train", "val"))
        experiment = self._experiment(watched, fitted=False)
        self.learned, self.limits = learn(experiment, train, val, patients, self.hparams["seed"])

    def _look(self, watched: Watched, part: str) -> tuple[Seen, list[str]]:
        """Return what all images of a part, as they are, look like, and whose they are."""
        parts, patients = list[Seen](), list[str]()
        for batch, images in self.plain(part):
            parts.append(watched.look_at(images, self.labels(batch, images)))
            patients += batch["patient"]
        return joined(parts), patients

    def _goals(self, seen: Seen, generator: torch.Generator) -> Tensor:
        return other_classes(seen.labels, seen.logits.shape[1], generator)

    def _experiment(self, watched: Watched, fitted: bool = True) -> Experiment:
        h = self.hparams
        with torch.no_grad():
            height, width = self.wants().size or (64, 64)
            channels = int(self.subject.hparams.get("channels") or 1)
            watched.look(torch.zeros(1, channels, height, width, device=self.device))
        layers = [i for i, size in enumerate(watched.widths[:-1]) if size <= h["max_channels"]]
        if not layers:
            raise ConfigError(f"--model.max_channels: every layer has more than {h['max_channels']} features")
        mixtures = Mixtures(layers, h["components"], h["covariance"], h["seed"])
        detectors = suite(watched, h["detectors"], h["seed"])
        if fitted:
            mixtures.state = self._on_device("mixtures")
            for name, detector in detectors.items():
                detector.state = self._on_device(name)
        plan = Plan(h["eps"], h["attack_steps"], h["hidden_steps"], h["weight"])
        return Experiment(watched, mixtures, detectors, plan, self.limits.get("constraint", float("inf")))

    def _on_device(self, name: str) -> dict[str, Tensor]:
        if name not in self.learned:
            raise ConfigError("the checkpoint is of a fit that has not ended; resume it first")
        return {key: value.to(self.device) for key, value in self.learned[name].items()}

    def new_evaluation(self, stage: Literal["validate", "test"]) -> Evaluation[Never] | None:
        """Return the victim's; in the second stage a test that attacks."""
        if stage == "validate" or self.stage != self.stages[-1]:
            return super().new_evaluation(stage)
        self.experiment = self._experiment(self.watched())
        limits = {name: value for name, value in self.limits.items() if name != "constraint"}
        return HidingEvaluation(self.data.classes, limits, {})

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Judge a batch, then attack those of its images that are right."""
        super().test_step(batch, batch_idx)
        evaluation = self.evaluation
        if not isinstance(evaluation, HidingEvaluation):
            return
        h, experiment, images = self.hparams, self.experiment, batch["image"]
        seen = experiment.watched.look_at(images, self.labels(batch, images))
        right = torch.nonzero(seen.predicted == seen.labels)[:, 0]
        seen = seen.at(right)
        if not len(seen):
            return
        generator = torch.Generator().manual_seed(derive_seed(h["seed"], 2 + batch_idx))
        goal = self._goals(seen, generator)
        noise = experiment.watched.look_at(noisy(seen.images, NOISE, generator), seen.labels)
        chosen = some_of(seen.labels, _LOOKED)
        few = seen.at(chosen)
        if not evaluation.diagnostics or (evaluation.lacks_trail and len(few.labels.unique()) > 1):
            where = directions(experiment.watched, few, goal[chosen], h["eps"])
            evaluation.diagnostics = {
                "stress": stress(experiment.watched, experiment.victim, few, h["eps"]),
                "directions": [where],
            }
        trials = [experiment.run(name, hide, seen, goal, generator) for name in h["attacks"] for hide in (False, True)]
        names = [batch["patient"][i] or batch["id"][i] for i in right.tolist()]
        evaluation.add(names, experiment.scores(joined([seen, noise])), trials)

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Keep what was learned, beside what the victim keeps."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["learned"], checkpoint["limits"] = dict(self.learned), dict(self.limits)

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Take it back.

        Raises:
            CheckpointError: It is not what was saved.
        """
        super().on_load_checkpoint(checkpoint)
        learned, limits = checkpoint.get("learned"), checkpoint.get("limits")
        states = list(learned.values()) if isinstance(learned, dict) else [None]
        right = all(isinstance(s, dict) and all(isinstance(v, Tensor) for v in s.values()) for s in states)
        check_field("learned", right, "tensors of each detector")
        numbers = isinstance(limits, dict) and all(isinstance(value, float) for value in limits.values())
        check_field("limits", numbers, "a threshold of each detector")
        self.learned = cast(dict[str, dict[str, Tensor]], learned)
        self.limits = cast(dict[str, float], limits)
