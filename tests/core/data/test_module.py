"""MedzooDataModule: options, what the model asks for, the size that is seen, and files that are checked once."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medzoo.core.data.module import MedzooDataModule
from medzoo.core.data.wants import Wants
from medzoo.core.errors import ConfigError, DataError, DataErrors
from medzoo.core.runs.runner import check_data
from medzoo.core.sample import Sample
from medzoo.core.testing.data import attach


class Numbers(torch.utils.data.Dataset[dict[str, Any]]):
    def __len__(self) -> int:
        return 7

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        return {"id": str(key[0] if isinstance(key, tuple) else key), "path": "", "source": "n"}


class Looked(MedzooDataModule):
    """Counts how often its files are looked at.

    Args:
        faults: Files that are wrong.
        common: Options of all data.
    """

    sample = Sample
    batch = 3

    def __init__(self, faults: tuple[str, ...] = (), **common: Any) -> None:
        super().__init__(**common)
        self.faults, self.looked = faults, []

    def check(self, stage: str | None = None) -> list[DataError]:
        self.looked.append(stage)
        return [DataError(name, "is wrong", "mend it") for name in self.faults]


@pytest.mark.parametrize(("option", "value"), [("batch_size", 0), ("num_workers", -1), ("seed", -1), ("size", 0)])
def test_a_wrong_option_names_itself(option: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"--data.{option}: expected") as error:
        Looked(**{option: value})
    assert "\n" not in str(error.value)


def test_all_options_are_kept_for_the_checkpoint() -> None:
    own = {"faults": (), "size": [16, 20], "batch_size": None, "num_workers": 0, "seed": 3}
    assert dict(Looked(size=[16, 20], seed=3).hparams) == own


def test_the_size_is_the_option_or_what_the_model_asks_for() -> None:
    data = Looked()
    assert data.wants == Wants(), "without a trainer nothing is asked for"
    with pytest.raises(ConfigError, match=r"--data\.size: the model names no input size"):
        _ = data.size
    attach(data, Wants(size=(32, 48)))
    assert data.size == (32, 48)
    given = Looked(size=[16, 20])
    attach(given, Wants(size=(32, 48)))
    assert given.size == (16, 20)
    square = Looked(size=16)
    assert square.size == (16, 16)
    attach(data, Wants(size=(8, 8, 8)))
    with pytest.raises(ConfigError, match="this data holds images, but the model takes volumes"):
        _ = data.size


def test_the_batch_size_is_the_option_then_the_models_then_the_data_modules() -> None:
    data, given = Looked(), Looked(batch_size=2)
    assert data.samples_a_batch == 3
    for module in (data, given):
        attach(module, Wants(batch_size=5))
    assert (data.samples_a_batch, given.samples_a_batch) == (5, 2)
    assert [len(batch["id"]) for batch in data.evaluation_loader(Numbers())] == [5, 2]
    assert [len(batch["id"]) for batch in given.evaluation_loader(Numbers(), batch_size=7)] == [7]


def test_batches_hold_one_source_each_and_all_samples() -> None:
    data = Looked(batch_size=2)
    groups = [0, 1, 0, 1, 0, 1, 1]
    for loader in (data.train_loader(Numbers(), groups), data.evaluation_loader(Numbers(), groups)):
        names = [[int(name) for name in batch["id"]] for batch in loader]
        assert sorted(name for batch in names for name in batch) == list(range(7))
        assert all(len({groups[i] for i in batch}) == 1 for batch in names)


def test_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[list[str]]:
        loader = Looked(batch_size=2, seed=seed).train_loader(Numbers())
        loader.batches.set_epoch(epoch)
        return [batch["id"] for batch in loader]

    assert order(0, 1) == order(0, 1)
    assert len({str(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_files_are_looked_at_once_a_stage_by_who_comes_first() -> None:
    data = Looked()
    data.setup("fit")
    assert data.looked == ["fit"], "nobody had looked"
    run = Looked()
    check_data(run, "fit", "test")
    run.setup("fit")
    run.setup("test")
    assert run.looked == ["fit", "test"], "the run had looked"
    run.setup("predict")
    assert run.looked[-1] == "predict"


def test_faults_are_raised_by_the_set_up_all_at_once() -> None:
    with pytest.raises(DataError, match=r"one\.png: is wrong; mend it"):
        Looked(("one.png",)).setup("fit")
    with pytest.raises(DataErrors) as both:
        Looked(("one.png", "two.png")).setup("fit")
    assert "one.png" in str(both.value)
