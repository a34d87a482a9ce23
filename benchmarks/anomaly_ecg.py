"""Simple baselines for abnormal electrocardiograms, on the records that `medzoo fit --model mcf` is tested on.

    python benchmarks/anomaly_ecg.py --seed 0

Template: squared distance of a beat from the mean normal beat, in units of its variance. PCA: what the first principal
components of normal beats leave of a beat. Own template: squared distance from the median beat of the same record.
Leads of rank 3: what leaves the three directions in which the leads of normal beats vary most.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import torch
from torch import Tensor

from medzoo.anomaly.restoration.losses import normalised, smoothed
from medzoo.anomaly.restoration.scoring import cut, windows
from medzoo.anomaly.signals.phantoms import EcgPhantoms
from medzoo.core.sample import Batch
from medzoo.core.tasks.signals import SignalEvaluation, SignalOutputs

BEAT = 96
Judge = Callable[[Tensor], Tensor]


def beats_of(batch: Batch, norm: str) -> list[tuple[Tensor, Tensor]]:
    """Return starts and beats `(N, L, d)` of each record, scaled as MCF scales records."""
    seen = normalised(batch["signal"], norm)
    found = []
    for signal, beats in zip(seen, batch["beats"], strict=True):
        starts = windows(beats, signal.shape[-1], BEAT)
        found.append((starts, cut(signal, starts, BEAT)))
    return found


def outputs(batch: Batch, judge: Judge, norm: str) -> SignalOutputs:
    """Score records by the mean error of their beats, and points where windows lie, the mean where they overlap."""
    scores, maps = [], []
    for signal, (starts, beats) in zip(batch["signal"], beats_of(batch, norm), strict=True):
        error = judge(beats)
        at = (starts[:, None] + torch.arange(BEAT)).reshape(-1)
        heat = torch.zeros_like(signal).index_add(1, at, error.transpose(0, 1).reshape(len(signal), -1))
        count = torch.zeros(signal.shape[-1]).index_add(0, at, torch.ones(len(at))).clamp_min(1)
        scores.append(error.mean() if len(starts) else torch.zeros(()))
        maps.append(smoothed(heat / count, 3.0))
    return SignalOutputs(torch.stack(scores), torch.stack(maps))


def fitted(train: Tensor, ranks: tuple[int, ...]) -> dict[str, Judge]:
    """Return the baselines fitted to normal beats `(N, L, d)`."""
    mean, spread = train.mean(0), train.var(0) + 1e-3
    flat = (train - mean).flatten(1)
    axes = torch.linalg.svd(flat, full_matrices=False).Vh
    leads = torch.linalg.svd(train.transpose(1, 2).reshape(-1, train.shape[1]), full_matrices=False).Vh[:3]

    def residual(beats: Tensor, rank: int) -> Tensor:
        own = (beats - mean).flatten(1)
        return torch.square((own - own @ axes[:rank].T @ axes[:rank]).unflatten(1, mean.shape))

    def outside(beats: Tensor) -> Tensor:
        rows = beats.transpose(1, 2)
        return torch.square((rows - rows @ leads.T @ leads).transpose(1, 2))

    judges: dict[str, Judge] = {
        "template": lambda beats: (beats - mean).square() / spread,
        "own template": lambda beats: (beats - beats.median(0).values).square(),
        "leads of rank 3": outside,
    }
    for rank in ranks:
        judges[f"PCA of beats, rank {rank}"] = lambda beats, rank=rank: residual(beats, rank)  # type: ignore[misc]
    return judges


def main() -> None:
    """Print a line of JSON a baseline."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=int, default=400)
    parser.add_argument("--test", type=int, default=204)
    parser.add_argument("--norm", choices=("lead", "robust", "millivolts"), default="lead")
    given = parser.parse_args()
    data = EcgPhantoms(train=given.train, val=0, test=given.test, seed=given.seed, rate=100.0, seconds=9.6)
    batches = list(data.train_dataloader())
    train = torch.cat([beats for batch in batches for _, beats in beats_of(batch, given.norm)])
    tests: list[Batch] = [dict(batch) for batch in data.test_dataloader()]
    for name, judge in fitted(train, (8, 32, 128)).items():
        evaluation, start = SignalEvaluation(), time.perf_counter()
        for batch in tests:
            evaluation.update(batch, outputs(batch, judge, given.norm))
        found = {key.split("/")[1]: round(value, 4) for key, value in evaluation.compute().items()}
        kinds = {str(row["kind"]): round(float(row["auroc"]), 3) for row in evaluation.kinds()}
        chosen = {key: found[key] for key in ("record_auroc", "point_auroc", "point_auroc_macro", "point_ap")}
        seconds = time.perf_counter() - start
        line = {"baseline": name, "seed": given.seed, "norm": given.norm, **chosen, "kinds": kinds}
        print(json.dumps({**line, "seconds": round(seconds, 2)}))


if __name__ == "__main__":
    main()
