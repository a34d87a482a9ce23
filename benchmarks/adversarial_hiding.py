"""How well detectors see BIM on a classifier of built-in chests, without and with the feature constraint.

Usage: python benchmarks/adversarial_hiding.py CKPT PIXELS SEED
CKPT is one of `classifier` on two classes of class-phantoms. Prints success, success after rounding to 8 bits, and of
each detector its AUROC against clean and noisy images and the share that is wrong and undetected at 5 % false alarms.
First it prints how far the budget goes: ε times the length |∇|₁ of the margin's gradient over the margin (its median),
and success of BIM with more and finer steps, for all images and for those of each class.
"""

from __future__ import annotations

import sys
import time

import torch
from torch import Tensor

from medzoo.adversarial.detectors import Mixtures, Seen, Watched, suite
from medzoo.adversarial.detectors.seen import joined
from medzoo.adversarial.engine import BIM, Victim
from medzoo.adversarial.engine.losses import margin
from medzoo.adversarial.hfc.losses import OnLogits
from medzoo.adversarial.hfc.trials import Experiment, Plan, noisy
from medzoo.core import load_checkpoint
from medzoo.core.classifier.data.phantoms import ClassPhantoms
from medzoo.core.classifier.module import Classifier
from medzoo.core.metrics import auroc
from medzoo.core.metrics.segmentation import quantile_threshold

EPS, STEPS, HIDDEN_STEPS = 4 / 255, 10, 40
NAMES = ("kd", "lid", "maha", "svm", "dnn", "gmm")


def main(path: str, pixels: int, seed: int) -> None:
    model = load_checkpoint(path)
    assert isinstance(model, Classifier)
    data = ClassPhantoms(300, 120, 40, classes=2, seed=seed, size=pixels, pixels=pixels)
    watched = Watched(lambda images: model.outputs({"image": images}).logits, model)

    def part(name: str) -> Seen:
        batches = list(data.plain_dataloader(name))
        images, labels = (torch.cat([batch[key] for batch in batches]) for key in ("image", "label"))
        return watched.look_at(images, labels)

    train, val, test = part("train"), part("val"), part("test")
    accuracy = float((test.predicted == test.labels).float().mean())
    val, test = (seen.at(seen.predicted == seen.labels) for seen in (val, test))
    half = len(val) // 2
    learn, apart = val.at(torch.arange(half)), val.at(torch.arange(half, len(val)))
    mixtures = Mixtures(range(len(watched.layers)))
    mixtures.fit(train)
    plan, generator = Plan(EPS, STEPS, HIDDEN_STEPS, 1.0), torch.Generator().manual_seed(seed)
    experiment = Experiment(watched, mixtures, {}, plan, float("inf"))
    bim = experiment.run("bim", False, learn, 1 - learn.labels, generator)
    noise = watched.look_at(noisy(learn.images, 2 / 255, generator), learn.labels)
    detectors = suite(watched, NAMES)
    for detector in detectors.values():
        detector.fit(train, joined([learn, noise]), bim.seen.at(bim.success))
    experiment.detectors = detectors
    normal = experiment.scores(joined([test, watched.look_at(noisy(test.images, 2 / 255, generator), test.labels)]))
    limits = {name: quantile_threshold(value, 0.05) for name, value in experiment.scores(apart).items()}
    print(f"accuracy {accuracy:.3f}, {len(test)} images attacked")
    _reach(experiment.victim, test)
    for hide in (False, True):
        trial = experiment.run("bim", hide, test, 1 - test.labels, generator)
        print(f"{trial.attack}: success {_share(trial.success)}, rounded {_share(trial.rounded)}")
        for name, scores in trial.scores.items():
            both = torch.cat([normal[name], scores[trial.success]])
            label = torch.cat([torch.zeros(len(normal[name])), torch.ones(int(trial.success.sum()))])
            joint = _share(trial.success & (scores <= limits[name]))
            print(f"  {name}: AUROC {auroc(both, label):.3f}, wrong and undetected {joint}")
    print(f"{time.process_time():.0f} s of processor time")


def _reach(victim: Victim, test: Seen) -> None:
    goal = 1 - test.labels
    images = test.images.clone().requires_grad_()
    far = margin(victim(images, torch.Generator())[:, :2], goal)
    (slope,) = torch.autograd.grad(far.sum(), images)
    print(f"budget by margin {float((EPS * slope.abs().flatten(1).sum(dim=1) / far.detach()).quantile(0.5)):.2f}")
    for steps, parts in ((10, 5), (40, 20), (200, 50)):
        attack = BIM(eps=EPS, steps=steps, alpha=EPS / parts, targeted=True, loss=OnLogits(2))
        found = attack(victim, test.images, goal).success
        each = ", ".join(_share(found[test.labels == k]) for k in (0, 1))
        print(f"BIM of {steps} steps: success {_share(found)}; from clear {each.replace(', ', ', from nodules ')}")


def _share(flags: Tensor) -> str:
    return f"{float(flags.double().mean()):.3f}"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
