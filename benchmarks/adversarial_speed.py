"""Attacks of medzoo beside those of foolbox, torchattacks and ART: samples a second on one victim.

    pip install 'medzoo-adversarial[test]' && pip install --no-deps torchattacks
    python benchmarks/adversarial_speed.py --size 64 --batch 16 --rounds 5

The victim is a ResNet-18 with random weights and one grey channel. Contenders take turns within each round, so that
load hits all of them; figures are medians over rounds of samples by second of processor time (with --device cuda:
of wall clock). Every attack has the same steps everywhere, and gradients in one batch. Each contender also has to say
which images succeeded: medzoo and foolbox do, after torchattacks and ART the victim is asked once. Libraries that are
not installed are left out. Ratios within one run are the result, not the figures themselves.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from medzoo.adversarial.engine import APGD, BIM, CWL2, DDN, FGSM, MIM, PGD, Attack, Square, Victim

EPS, ALPHA, STEPS = 8 / 255, 2 / 255, 10
Job = Callable[[], object]


class Bench:
    """One victim with its images, and the jobs on it by attack and library."""

    def __init__(self, size: int, batch: int, device: str) -> None:
        torch.manual_seed(0)
        self.network = torchvision.models.resnet18(num_classes=3)
        self.network.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        self.network.eval().to(device)
        self.images = torch.rand(batch, 1, size, size, device=device)
        with torch.no_grad():
            self.labels: Tensor = self.network(self.images).argmax(dim=1)
        self.device = device
        self.jobs: dict[str, dict[str, Job]] = {}

    def add(self, attack: str, library: str, job: Job) -> None:
        """Take a job."""
        self.jobs.setdefault(attack, {})[library] = job

    def add_ours(self) -> None:
        """Take medzoo's."""
        victim = Victim(self.network)
        attacks: dict[str, Attack] = {
            "FGSM": FGSM(eps=EPS),
            "BIM": BIM(eps=EPS, alpha=ALPHA, steps=STEPS),
            "PGD": PGD(eps=EPS, alpha=ALPHA, steps=STEPS),
            "MIM": MIM(eps=EPS, alpha=ALPHA, steps=STEPS),
            "APGD, CE": APGD(eps=EPS, steps=STEPS),
            "CW-L2": CWL2(steps=STEPS, searches=2),
            "DDN": DDN(steps=STEPS),
            "Square": Square(eps=EPS, queries=50),
        }
        for name, attack in attacks.items():
            self.add(name, "medzoo", partial(attack, victim, self.images, self.labels))

    def add_foolbox(self) -> None:
        """Take foolbox's.

        Raises:
            ImportError: It is not installed.
        """
        foolbox = importlib.import_module("foolbox")
        model = foolbox.PyTorchModel(self.network, bounds=(0, 1), device=self.device)
        made = foolbox.attacks
        attacks = {
            "FGSM": made.LinfFastGradientAttack(),
            "BIM": made.LinfBasicIterativeAttack(abs_stepsize=ALPHA, steps=STEPS),
            "PGD": made.LinfPGD(abs_stepsize=ALPHA, steps=STEPS),
            "CW-L2": made.L2CarliniWagnerAttack(binary_search_steps=2, steps=STEPS, abort_early=False),
            "DDN": made.DDNAttack(steps=STEPS),
        }
        for name, attack in attacks.items():
            eps = None if name in ("CW-L2", "DDN") else EPS
            self.add(name, "foolbox", partial(attack, model, self.images, self.labels, epsilons=eps))

    def add_torchattacks(self) -> None:
        """Take those of torchattacks.

        Raises:
            ImportError: It is not installed.
        """
        made = importlib.import_module("torchattacks")
        attacks = {
            "FGSM": made.FGSM(self.network, eps=EPS),
            "BIM": made.BIM(self.network, eps=EPS, alpha=ALPHA, steps=STEPS),
            "PGD": made.PGD(self.network, eps=EPS, alpha=ALPHA, steps=STEPS),
            "MIM": made.MIFGSM(self.network, eps=EPS, alpha=ALPHA, steps=STEPS),
            "APGD, CE": made.APGD(self.network, eps=EPS, steps=STEPS, loss="ce"),
            "Square": made.Square(self.network, eps=EPS, n_queries=50, loss="margin"),
        }
        for name, attack in attacks.items():
            self.add(name, "torchattacks", partial(self._then_judged, attack))

    def add_art(self) -> None:
        """Take those of ART.

        Raises:
            ImportError: It is not installed.
        """
        evasion = importlib.import_module("art.attacks.evasion")
        made = importlib.import_module("art.estimators.classification")
        model = made.PyTorchClassifier(
            self.network,
            nn.CrossEntropyLoss(),
            tuple(self.images.shape[1:]),
            3,
            clip_values=(0, 1),
            device_type="gpu" if self.device == "cuda" else "cpu",
        )
        more = {"batch_size": len(self.images)}
        steps = {"eps_step": ALPHA, "max_iter": STEPS, "verbose": False} | more
        attacks = {
            "FGSM": evasion.FastGradientMethod(model, eps=EPS, **more),
            "BIM": evasion.ProjectedGradientDescentPyTorch(model, eps=EPS, num_random_init=0, **steps),
            "PGD": evasion.ProjectedGradientDescentPyTorch(model, eps=EPS, num_random_init=1, **steps),
            "MIM": evasion.MomentumIterativeMethod(model, eps=EPS, **steps),
        }
        images, labels = self.images.cpu().numpy(), self.labels.cpu().numpy()
        for name, attack in attacks.items():
            self.add(name, "ART", partial(self._art, attack, images, labels))

    def _then_judged(self, attack: Any) -> object:
        return self.judged(attack(self.images, self.labels))

    def _art(self, attack: Any, images: Any, labels: Any) -> object:
        return self.judged(torch.from_numpy(attack.generate(images, labels)))

    def judged(self, images: Tensor) -> object:
        """Return which images the victim gets wrong."""
        with torch.no_grad():
            return self.network(images.to(self.device)).argmax(dim=1) != self.labels

    def timed(self, job: Job) -> float:
        """Return the samples by second of one run."""
        clock = time.perf_counter if self.device == "cuda" else time.process_time
        start = clock()
        job()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return len(self.images) / (clock() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--only", nargs="+", help="attacks, as the table names them; all by default")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    bench = Bench(options.size, options.batch, options.device)
    bench.add_ours()
    libraries = ["medzoo"]
    for name, add in (("foolbox", bench.add_foolbox), ("torchattacks", bench.add_torchattacks), ("ART", bench.add_art)):
        try:
            add()
            libraries.append(name)
        except ImportError as error:
            print(f"{name} is left out: {error}")
    print("| attack | " + " | ".join(libraries) + " | medzoo by the best other |")
    print("|---|" + "--:|" * (len(libraries) + 1))
    for attack, jobs in bench.jobs.items():
        if options.only and attack not in options.only:
            continue
        rates: dict[str, list[float]] = {name: [] for name in jobs}
        for job in jobs.values():
            bench.timed(job)  # the first call makes buffers
        for _ in range(options.rounds):
            for name, job in jobs.items():
                rates[name].append(bench.timed(job))
        found = {name: statistics.median(values) for name, values in rates.items()}
        others = [value for name, value in found.items() if name != "medzoo"]
        ratio = f"{found['medzoo'] / max(others):.2f}" if others else ""
        cells = [f"{found[name]:.1f}" if name in found else "" for name in libraries]
        print(f"| {attack} | " + " | ".join(cells) + f" | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
