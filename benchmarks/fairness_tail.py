"""How long-tail losses compare as training goes on: `python benchmarks/fairness_tail.py [SEED|LOSS ...]`.

Twelve labels of frequency 0.35 · 0.62^k on 24 features, 6000 samples of which training labels lack three in ten
positives, a perceptron of 64 hidden units, Adam at 2e-3, batches of 64. Prints the mean average precision of the five
rarest labels on 6000 other samples with right labels, after several numbers of epochs.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medzoo.core.metrics.anomaly import average_precision
from medzoo.fairness.losses import distribution_balanced
from medzoo.fairness.ltml.losses import as_positives, reconsidered

EPOCHS = (2, 4, 6, 12, 24, 48)
PLAIN = {"bias": 0.0, "balanced": False, "focusing": False}
LOSSES = ("cross-entropy", "the same + LLA", "ANR alone", "DB", "DB with ANR", "LTML")


def loss_of(name: str, z: Tensor, label: Tensor, counts: Tensor, rate: float) -> Tensor:
    """Return the loss of a batch."""
    total, adaptive = 6000, 10.0 if name in ("ANR alone", "DB with ANR", "LTML") else None
    if name in ("cross-entropy", "the same + LLA"):
        each = F.binary_cross_entropy_with_logits(z, label, reduction="none")
    else:
        options = PLAIN if name == "ANR alone" else {}
        each = distribution_balanced(z, label, counts, total, adaptive=adaptive, **options)  # type: ignore[arg-type]
    if name in ("the same + LLA", "LTML"):
        each, _ = reconsidered(each, as_positives(z, label, counts, total), label, rate, "abandon")
    return each.mean()


def curve(name: str, seed: int) -> list[float]:
    """Return the tail's average precision after each of `EPOCHS`; all are points of one training."""
    generator = torch.Generator().manual_seed(seed)
    mix, prior = torch.randn(12, 24, generator=generator), 0.35 * 0.62 ** torch.arange(12)
    truth = (torch.rand(12_000, 12, generator=generator) < prior).float()
    x = 0.9 * truth @ mix + 1.3 * torch.randn(12_000, 24, generator=generator)
    y = (truth * (torch.rand(12_000, 12, generator=generator) > 0.3))[:6000]
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(24, 64), nn.ReLU(), nn.Linear(64, 12))
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    found = []
    for epoch in range(max(EPOCHS)):
        for rows in torch.randperm(6000).split(64):
            loss = loss_of(name, network(x[rows]), y[rows], y.sum(0), min(0.02 * epoch, 0.3))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if epoch + 1 in EPOCHS:
            with torch.no_grad():
                scores = network(x[6000:])
            found.append(sum(average_precision(scores[:, c], truth[6000:, c]) for c in range(7, 12)) / 5)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    seeds = [int(word) for word in sys.argv[1:] if word.isdigit()] or [0, 1, 2]
    only = [word for word in sys.argv[1:] if not word.isdigit()]
    print("| loss | " + " | ".join(f"{epochs} epochs" for epochs in EPOCHS) + " |", flush=True)
    print("|---" * (len(EPOCHS) + 1) + "|")
    for name in only or LOSSES:
        values = np.array([curve(name, seed) for seed in seeds])
        spread = values.std(0, ddof=1) if len(seeds) > 1 else np.zeros(len(EPOCHS))
        cells = [f"{mean:.3f} ± {own:.3f}" for mean, own in zip(values.mean(0), spread, strict=True)]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
