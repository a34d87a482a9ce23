from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from medzoo.core.data.wants import Wants
from medzoo.core.errors import ConfigError
from medzoo.core.geometry import apply, invert
from medzoo.core.sample import Batch
from medzoo.landmark.data import Chest, LandmarkDataModule, LandmarkFolder, LandmarkMix, LandmarkPhantoms
from medzoo.landmark.data.shots import choose_shots

Maker = Callable[..., Path]
UNLABELLED = {"image", "spacing", "affine", "original_size", "id", "path", "source", "domain"}


def epoch(data: LandmarkDataModule, number: int) -> list[Batch]:
    loader = data.train_dataloader()
    loader.batches.set_epoch(number)
    return list(loader)


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        a["id"] == b["id"] and all(torch.equal(a[k], b[k]) for k in ("image", "affine", "original_size", "domain"))
        for a, b in zip(first, second, strict=True)
    )


class Probe(LightningModule):
    """Learns one number and keeps what it was given."""

    supervised = False

    def wants(self) -> Wants:
        return Wants((24, 32), 3, labels=self.supervised)

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list[Any]] = {"fit": [], "val": [], "test": [], "predict": []}

    def training_step(self, batch: Batch, index: int) -> Tensor:
        self.seen["fit"].append(batch)
        loss: Tensor = ((batch["image"].mean() - self.weight) ** 2).mean()
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        self.seen["val"].append(batch)

    def test_step(self, batch: Batch, index: int) -> None:
        self.seen["test"].append(batch)

    def predict_step(self, batch: Batch, index: int) -> None:
        self.seen["predict"].append(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def trainer(folder: Path) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        use_distributed_sampler=False,
    )


def test_training_is_the_same_with_all_other_labels_deleted(chest: Maker, tmp_path: Path) -> None:
    root = chest(16)
    bare = tmp_path / "bare"
    shutil.copytree(root, bare)
    shot = Chest(str(root)).shot_ids[0][0]
    for file in (bare / "labels").iterdir():
        if file.stem != shot:
            file.unlink()
    seen = []
    for folder in (root, bare):
        model, data = Probe(), Chest(str(folder))
        trainer(tmp_path).fit(model, datamodule=data)
        assert data.shot_ids == ((shot,),)
        assert data.shots()[0][0]["landmarks"].shape == (6, 2)
        seen.append(model.seen["fit"])
    assert len(seen[0]) > 4
    assert same(*seen)


def test_nothing_that_training_holds_can_reach_a_label(chest: Maker) -> None:
    data = Chest(str(chest(8)), size=16)
    samples = data.train_dataloader().dataset
    assert UNLABELLED == set(samples[0]) == set(samples[0, 3])

    def reachable(thing: object, seen: set[int]) -> bool:
        """Tell whether a text that names the label folder, or a method that reads labels, hangs on an object."""
        if id(thing) in seen:
            return False
        seen.add(id(thing))
        if isinstance(thing, str):
            return "labels" in thing
        if hasattr(thing, "points") and callable(thing.points):
            return True
        parts = vars(thing).values() if hasattr(thing, "__dict__") else ()
        if isinstance(thing, dict):
            parts = (*thing.keys(), *thing.values())
        elif isinstance(thing, list | tuple | set):
            parts = tuple(thing)
        return any(reachable(part, seen) for part in parts)

    assert not reachable(samples, set())
    assert reachable(data.test_dataloader().dataset, set()), "the search finds labels where they are"  # type: ignore[union-attr]


def test_labels_of_training_images_are_opened_for_shots_alone(chest: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    read = Path.read_bytes

    def noted(path: Path) -> bytes:
        opened.append(path.stem)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", noted)
    data = Chest(str(chest(12)), size=16, shots=["p003"])
    data.setup("fit")
    data.shots()
    epoch(data, 0)
    list(data.unlabelled_loader())
    assert set(opened) == {"p003"}


def test_batches_hold_one_domain_are_drawn_anew_each_epoch_and_cover_all_images() -> None:
    data = LandmarkPhantoms(n_train=13, n_test=1, image_size=32, size=32, batch_size=4)
    first, second, again = epoch(data, 0), epoch(data, 1), epoch(data, 0)
    assert same(first, again)
    assert [batch["id"] for batch in first] != [batch["id"] for batch in second]
    for batches in (first, second):
        assert all(len(set(batch["domain"].tolist())) == 1 for batch in batches)
        samples = sorted((int(d), name) for b in batches for d, name in zip(b["domain"], b["id"], strict=True))
        assert samples == [(d, f"train-{i:05d}") for d in range(3) for i in range(13)]
    domains = [int(batch["domain"][0]) for batch in first]
    assert domains != sorted(domains)
    other = LandmarkPhantoms(n_train=13, n_test=1, image_size=32, size=32, batch_size=4, seed=1)
    assert [batch["id"] for batch in epoch(other, 0)] != [batch["id"] for batch in first]


def test_batches_do_not_depend_on_workers_or_on_the_size_of_the_cache(chest: Maker) -> None:
    root = str(chest(13))
    plain = Chest(root, size=[20, 16], batch_size=4)
    reference = [epoch(plain, number) for number in range(3)]
    variants: list[dict[str, Any]] = [{"num_workers": 2}, {"cache_mb": 0}, {"num_workers": 1, "cache_mb": 0}]
    for options in variants:
        data = Chest(root, size=[20, 16], batch_size=4, **options)
        loader = data.train_dataloader()
        for number in range(3):
            loader.batches.set_epoch(number)
            assert same(list(loader), reference[number]), options


def test_workers_leave_decoded_images_to_later_epochs(chest: Maker) -> None:
    root = chest(10)
    data = Chest(str(root), size=16, batch_size=4, num_workers=2, shots=["p000"])
    before = epoch(data, 0)
    data.shots()
    shutil.rmtree(root / "pngs")
    assert same(epoch(data, 0), before)


def test_memory_does_not_grow_with_the_number_of_images() -> None:
    sizes = []
    for count in (20, 40, 80):
        data = LandmarkPhantoms(["chest"], n_train=count, n_test=0, image_size=32, size=256, cache_mb=2)
        data.train_dataloader()
        assert data._cache is not None
        sizes.append(data._cache[1].nbytes)
    assert sizes == [sizes[0]] * 3
    assert sizes[0] <= 2 * 2**20


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_affine_leads_to_the_pixels_of_the_landmarks_and_back(tmp_path: Path, fit: Any) -> None:
    """A bright dot drawn at the landmark of an oblong image is found where the affine says."""
    from PIL import Image

    points = {"a": (70, 20), "b": (10, 41)}
    for name, (x, y) in points.items():
        array = np.zeros((60, 90), np.uint8)
        array[y - 2 : y + 3, x - 2 : x + 3] = 255
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    (tmp_path / "landmarks.csv").write_text("id,x0,y0\n" + "".join(f"{n},{x},{y}\n" for n, (x, y) in points.items()))
    data = LandmarkFolder(str(tmp_path), shots=["a", "b"], size=[48, 40], resize=fit)
    for sample in data.shots()[0]:
        image, affine = sample["image"][0].double(), sample["affine"]
        assert image.shape == (48, 40)
        rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(40.0), indexing="ij")
        centroid = torch.stack(((columns * image).sum(), (rows * image).sum())) / image.sum()
        expected = apply(affine, sample["landmarks"].double())[0]
        assert torch.allclose(centroid, expected, atol=0.05)
        assert torch.allclose(apply(invert(affine), centroid[None]), sample["landmarks"].double(), atol=0.1)
        assert (affine[0, 0] == affine[1, 1]) == (fit == "pad")


def test_size_and_batch_come_from_the_model_unless_told(chest: Maker, tmp_path: Path) -> None:
    root = str(chest(12))
    model = Probe()
    trainer(tmp_path).fit(model, datamodule=Chest(root))
    assert {tuple(batch["image"].shape[1:]) for batch in model.seen["fit"]} == {(1, 24, 32)}
    assert max(len(batch["id"]) for batch in model.seen["fit"]) in (3, 4)
    told = Probe()
    trainer(tmp_path).fit(told, datamodule=Chest(root, size=20, batch_size=5))
    assert {tuple(batch["image"].shape[1:]) for batch in told.seen["fit"]} == {(1, 20, 20)}
    assert max(len(batch["id"]) for batch in told.seen["fit"]) == 5
    with pytest.raises(ConfigError, match=r"--data\.size"):
        Chest(root).train_dataloader()


def test_fit_validate_test_and_predict_run_and_only_evaluation_sees_landmarks(chest: Maker, tmp_path: Path) -> None:
    model, data, runner = Probe(), Chest(str(chest(20)), val_fraction=0.2), trainer(tmp_path)
    runner.fit(model, datamodule=data)
    runner.test(model, datamodule=data, verbose=False)
    runner.predict(model, datamodule=data)
    split = data.sources[0].split
    assert all(set(batch) == UNLABELLED for batch in (*model.seen["fit"], *model.seen["predict"]))
    labelled = UNLABELLED | {"landmarks", "visible", "scale"}
    assert all(set(batch) == labelled for batch in (*model.seen["val"], *model.seen["test"]))
    assert [name for batch in model.seen["test"] for name in batch["id"]] == list(split.test)
    assert [name for batch in model.seen["predict"] for name in batch["id"]] == list(split.test)
    assert {name for batch in model.seen["fit"] for name in batch["id"]} == set(split.train)


def test_no_validation_and_no_test_images_are_no_error(chest: Maker, tmp_path: Path) -> None:
    model, data, runner = Probe(), Chest(str(chest(6)), test_fraction=0.0), trainer(tmp_path)
    runner.fit(model, datamodule=data)
    runner.test(model, datamodule=data, verbose=False)
    assert (model.seen["val"], model.seen["test"]) == ([], [])


def test_test_samples_carry_truth_scale_and_gaps(plain: Maker) -> None:
    table = "id,x0,y0,x1,y1,spacing,split\na0,1,2,3,4,0.5,train\na1,5,6,,,0.25,test\n"
    data = LandmarkFolder(str(plain(table)), size=16)
    loader: Any = data.test_dataloader()
    batch = next(iter(loader))
    assert batch["landmarks"][0, 0].tolist() == [5, 6]
    assert batch["visible"].tolist() == [[True, False]]
    assert batch["scale"].tolist() == [[0.25, 0.25]]
    assert batch["spacing"].tolist() == [[0.25, 0.25]]
    assert batch["original_size"].tolist() == [[50, 40]]


def test_hyper_parameters_are_plain_values_and_build_the_module_again(chest: Maker) -> None:
    root = str(chest(6))
    data = Chest(root, shots=["p001"], size=[32, 24], seed=3, test_fraction=0.5)
    options = json.loads(json.dumps(dict(data.hparams)))
    assert options["root"] == root
    assert options["test_fraction"] == 0.5
    assert Chest(**options).sources[0].split == data.sources[0].split
    mix = LandmarkMix([{"data": "chest", "root": root}], seed=5)
    assert json.loads(json.dumps(dict(mix.hparams)))["parts"][0]["root"] == root
    assert dict(LandmarkPhantoms().hparams)["n_train"] == 100


def test_typical_image_is_chosen_by_appearance_whatever_its_exposure(tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    base = np.asarray(
        Image.fromarray(rng.integers(60, 190, (8, 8), dtype=np.uint8)).resize((64, 64), Image.Resampling.BICUBIC)
    )
    for i in range(9):
        noise = np.asarray(
            Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).resize((64, 64), Image.Resampling.BICUBIC)
        )
        # Image 4 is the anatomy that all share, darker than the rest; every other one deviates in its own way.
        array = 0.5 * base if i == 4 else 0.6 * base + 0.4 * noise
        Image.fromarray(array.astype(np.uint8)).save(tmp_path / f"i{i}.png")
    (tmp_path / "landmarks.csv").write_text("id,x0,y0\n" + "".join(f"i{i},{i},1\n" for i in range(9)))
    source = LandmarkFolder(str(tmp_path), test_fraction=0.0).sources[0]
    assert choose_shots(source, 1) == ("i4",)
    several = choose_shots(source, 3)
    assert several[0] == "i4"
    assert len(set(several)) == 3
    assert choose_shots(source, 9) == tuple(sorted(choose_shots(source, 9)))


def test_data_sets_travel_to_spawned_processes_without_the_images_they_hold(chest: Maker, plain: Maker) -> None:
    table = "id,x0,y0,split\na0,1,2,train\na1,5,6,test\n"
    for data in (
        Chest(str(chest(8)), size=16),
        LandmarkFolder(str(plain(table)), size=16),
        LandmarkPhantoms(["hand"], n_train=3, n_test=2, image_size=32, size=16),
    ):
        loader: Any = data.test_dataloader()
        for samples in (data.train_dataloader().dataset, loader.dataset):
            first = samples[0]
            copy = pickle.loads(pickle.dumps(samples))
            assert torch.equal(copy[0]["image"], first["image"])
            assert len(pickle.dumps(samples)) < 20_000


class Supervised(Probe):
    supervised = True


@pytest.mark.parametrize(("shots", "count"), [(2, 2), ("all", 5)])
def test_a_supervised_model_trains_on_the_shots_alone_with_their_labels(
    tmp_path: Path, shots: int | str, count: int
) -> None:
    data = LandmarkPhantoms(["hand"], shots=shots, n_train=5, n_test=2, image_size=32)
    model = Supervised()
    trainer(tmp_path).fit(model, datamodule=data)
    batches = [b for b in model.seen["fit"] if b["id"]]
    assert sorted({i for b in batches for i in b["id"]}) == sorted(data.shot_ids[0])
    assert len(data.shot_ids[0]) == count
    for batch in batches:
        for row, name in enumerate(batch["id"]):
            expected = data.sources[0].points(name, (32, 32))
            assert np.allclose(batch["landmarks"][row].numpy(), expected, atol=1e-4)
            assert batch["visible"][row].all()


def test_all_shots_are_those_training_images_that_have_a_label(chest: Maker) -> None:
    root = chest()
    train = Chest(str(root), size=32).sources[0].split.train
    (root / "labels" / f"{train[0]}.txt").unlink()
    data = Chest(str(root), shots="all", size=32, allow_unlabelled=True)
    assert sorted(data.shot_ids[0]) == sorted(filter(data.sources[0].labelled, data.sources[0].split.train))
    assert len(data.shot_ids[0]) > 1
    assert train[0] not in data.shot_ids[0]
