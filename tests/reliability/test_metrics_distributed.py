"""F31: metrics are equal on 1, 2 and 3 processes, for any batch size and order, also where n does not divide.

A metric of another package joins by one entry in `CASES`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed
from torch.multiprocessing.spawn import start_processes
from torchmetrics import Metric

from medzoo.core.metrics import ImageAnomalyMetrics, LandmarkMetrics, PixelAnomalyMetrics

WORLD = 3


@dataclass(frozen=True)
class Case:
    """A metric and `n` samples for it, each argument of `update` stacked along the first axis."""

    metric: Callable[[], Metric]
    data: Callable[[int], dict[str, Tensor]]


def landmarks(n: int) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(n)
    target = torch.rand(n, 5, 2, generator=rng) * 300
    pred = target + torch.randn(n, 5, 2, generator=rng) * 12
    pred[torch.rand(n, 5, generator=rng) < 0.1] = torch.nan
    visible = torch.rand(n, 5, generator=rng) < 0.9
    return {"pred": pred, "target": target, "visible": visible, "scale": 0.1 + torch.rand(n, 2, generator=rng) / 5}


def images(n: int) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(n)
    labels = torch.rand(n, generator=rng) < 0.4
    scores = (torch.randn(n, generator=rng) + labels).round(decimals=1)  # with ties
    return {"scores": scores, "labels": labels, "groups": torch.randint(max(1, n // 3), (n,), generator=rng)}


def maps(n: int) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(n)
    masks = torch.rand(n, 9, 11, generator=rng) < 0.2
    return {"maps": (torch.randn(n, 9, 11, generator=rng) + masks).round(decimals=1), "masks": masks}


CASES = {
    "anomaly-images": Case(ImageAnomalyMetrics, images),
    "anomaly-pixels": Case(PixelAnomalyMetrics, maps),
    "landmark": Case(lambda: LandmarkMetrics((2.0, 2.5, 4.0)), landmarks),
    "landmark-named": Case(lambda: LandmarkMetrics((2.0,), unit="px", names=tuple("abcde")), landmarks),
}
SIZES = (37, 40, 2, 1)  # the last two leave processes without a sample


def update(metric: Metric, data: dict[str, Tensor], rows: list[int], batch: int) -> Metric:
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        metric.update(**{key: value[part] for key, value in data.items()})
    return metric


def order(n: int, seed: int) -> list[int]:
    return [int(i) for i in torch.randperm(n, generator=torch.Generator().manual_seed(seed))]


def work(rank: int, folder: str) -> None:
    """Measure every case on groups of 2 and 3 processes; rows are dealt out without padding."""
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD)
    results = {}
    for world in (2, 3):
        group = distributed.new_group(list(range(world)))
        if rank >= world:
            continue
        for name, case in CASES.items():
            for n in SIZES:
                metric = case.metric()
                metric.process_group = group
                update(metric, case.data(n), order(n, seed=world)[rank::world], batch=1 + (n + rank) % 7)
                scores = dict(metric.compute())
                if isinstance(metric, LandmarkMetrics):
                    scores |= {f"table_{key}": value for key, value in metric.per_landmark().items()}
                results[name, n, world] = scores
    torch.save(results, f"{folder}/{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> list[dict[tuple[str, int, int], dict[str, Tensor]]]:
    folder = tmp_path_factory.mktemp("gloo")
    # Forked, not spawned: three interpreters importing torch would take longer than all the rest.
    start_processes(work, (str(folder),), nprocs=WORLD, start_method="fork")
    return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]


def single(name: str, n: int, batch: int, seed: int) -> dict[str, Tensor]:
    metric = update(CASES[name].metric(), CASES[name].data(n), order(n, seed), batch)
    scores = dict(metric.compute())
    if isinstance(metric, LandmarkMetrics):
        scores |= {f"table_{key}": value for key, value in metric.per_landmark().items()}
    return scores


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", CASES)
def test_processes_agree_with_each_other_and_with_one(
    measured: list[dict[tuple[str, int, int], dict[str, Tensor]]], name: str, n: int
) -> None:
    expected = single(name, n, batch=n, seed=0)
    for world in (2, 3):
        for rank in range(world):
            scores = measured[rank][name, n, world]
            assert scores.keys() == expected.keys()
            for key, value in expected.items():
                torch.testing.assert_close(
                    scores[key], value, rtol=1e-6, atol=1e-6, equal_nan=True, msg=f"{key} on {rank} of {world}"
                )


@pytest.mark.parametrize("batch", range(1, 8))
@pytest.mark.parametrize("name", CASES)
def test_batch_size_and_order_do_not_matter(name: str, batch: int) -> None:
    expected = single(name, 37, batch=37, seed=0)
    for key, value in single(name, 37, batch=batch, seed=batch).items():
        torch.testing.assert_close(value, expected[key], rtol=1e-6, atol=1e-6, equal_nan=True)


def test_a_mean_of_batch_means_would_have_been_found_out() -> None:
    # The check above is worth something only if its data tell right from wrong.
    data = landmarks(37)
    means = [
        float(update(LandmarkMetrics((2.0,)), data, list(range(start, min(37, start + 6))), 6).compute()["mre_mm"])
        for start in range(0, 37, 6)
    ]
    assert abs(sum(means) / len(means) - float(single("landmark", 37, 37, 0)["mre_mm"])) > 1e-3
