from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medzoo.core.errors import ConfigError, MedzooError
from medzoo.core.phantoms import ANATOMIES, radiograph
from medzoo.core.sample import Batch
from medzoo.landmark.data import Chest, LandmarkDataModule, LandmarkMix, LandmarkPhantoms, copy_shot_baseline

Maker = Callable[..., Path]
CHEST = "chest"
PHANTOMS = "landmark-phantoms"


def evaluation(data: LandmarkDataModule, part: str = "test") -> list[Batch]:
    loader: Any = data.test_dataloader() if part == "test" else data.val_dataloader()
    return list(loader)


def test_phantom_parts_share_no_image_and_seeds_give_other_ones() -> None:
    data = LandmarkPhantoms(["hand"], n_train=6, n_val=3, n_test=6, image_size=24, size=24, batch_size=20)
    images = data.sources[0].images
    pictures = [images.read(name).array.tobytes() for name in data.sources[0].names]
    assert len(set(pictures)) == 15
    other = LandmarkPhantoms(["hand"], n_train=6, n_val=3, n_test=6, image_size=24, seed=1).sources[0]
    assert not set(pictures) & {other.images.read(name).array.tobytes() for name in other.names}
    assert [len(batch["id"]) for batch in evaluation(data, "val")] == [3]


def test_phantom_samples_are_those_of_the_ground() -> None:
    data = LandmarkPhantoms(["chest", "head"], n_train=2, n_test=2, image_size=[40, 48], size=[40, 48], seed=4)
    batches = evaluation(data)
    for domain, name in enumerate(("chest", "head")):
        truth = radiograph(name, (4, 2, 1), (40, 48))
        batch = next(batch for batch in batches if int(batch["domain"][0]) == domain)
        assert batch["id"][1] == "test-00001"
        assert torch.allclose(batch["image"][1, 0], torch.from_numpy(truth.image), atol=1e-3)
        assert torch.allclose(batch["landmarks"][1], torch.from_numpy(truth.landmarks).float())
        assert torch.allclose(batch["scale"][1], torch.tensor(truth.spacing).float())
        assert data.domains[domain].landmarks == ANATOMIES[name].landmarks


def test_phantoms_need_no_drawing_to_be_checked_or_listed() -> None:
    data = LandmarkPhantoms(n_train=10**4, n_test=10**4)
    start = time.perf_counter()
    assert data.check() == []
    assert len(data.sources[2].names) == 20_000
    assert time.perf_counter() - start < 5, "60 000 drawings would take hours"
    with pytest.raises(ConfigError, match="foot"):
        LandmarkPhantoms(["head", "foot"])
    with pytest.raises(ConfigError, match="n_train"):
        LandmarkPhantoms(n_train=0)


def test_mix_makes_domains_of_its_parts(chest: Maker) -> None:
    root = str(chest(12))
    parts: list[dict[str, Any]] = [
        {"data": CHEST, "root": root, "shots": ["p002"]},
        {"data": PHANTOMS, "domains": ["hand"], "n_train": 5, "n_test": 3},
    ]
    data = LandmarkMix(parts, size=32, batch_size=4)
    assert data.check() == []
    assert [(domain.name, domain.unit, len(domain.landmarks)) for domain in data.domains] == [
        ("chest", "px", 6),
        ("hand", "mm", 37),
    ]
    assert data.shot_ids[0] == ("p002",)
    assert len(data.shot_ids[1]) == 1
    assert [len(group) for group in data.shots()] == [1, 1]
    batches = list(data.train_dataloader())
    assert sorted(int(batch["domain"][0]) for batch in batches) == [0, 0, 0, 1]  # 10 and 5 images; a lone one joins
    assert all(len(set(batch["domain"].tolist())) == 1 for batch in batches)
    for batch in evaluation(data):
        assert batch["landmarks"].shape[1] == (6, 37)[int(batch["domain"][0])]


def test_mix_hands_its_seed_and_number_of_shots_to_parts_that_have_none_of_their_own(chest: Maker) -> None:
    root = str(chest(20))
    data = LandmarkMix(
        [{"data": CHEST, "root": root}, {"data": CHEST, "root": root, "name": "b", "seed": 1}], seed=2, shots=2
    )
    assert data.sources[0].split == Chest(root, seed=2).sources[0].split
    assert data.sources[1].split == Chest(root, seed=1).sources[0].split
    assert [len(names) for names in data.shot_ids] == [2, 2]


def test_names_of_shots_that_are_given_to_a_mix_are_shared_out_among_its_parts(chest: Maker) -> None:
    """Each stays out of the test set of its part; a part that names its own takes these."""
    root = str(chest(12))
    names = Chest(root).sources[0].split.test[:2]
    parts: list[dict[str, Any]] = [
        {"data": CHEST, "root": root},
        {"data": PHANTOMS, "domains": ["hand"], "n_train": 5, "n_test": 3},
        {"data": PHANTOMS, "domains": ["head"], "n_train": 5, "n_test": 3, "shots": ["train-00004"]},
    ]
    data = LandmarkMix(parts, shots=[*names, "train-00002"])
    assert data.check() == []
    assert data.shot_ids == (names, ("train-00002",), ("train-00004",))
    with pytest.raises(MedzooError, match="no image 'nobody'"):
        _ = LandmarkMix(parts, shots=[*names, "train-00002", "nobody"]).shot_ids


@pytest.mark.parametrize(
    ("parts", "word"),
    [
        ([], "at least one part"),
        ([{"root": "x"}], "expected a key data"),
        ([{"data": "chessst", "root": "x"}], "chessst"),
        ([{"data": "medzoo.landmark.data.Nothing"}], "not registered"),
        ([{"data": "landmark-mix", "parts": []}], "cannot be a domain|not a landmark data set"),
        ([{"data": "os.path.join"}], "not registered"),
        ([{"data": CHEST}], "missing root"),
        ([{"data": CHEST, "root": "x", "gt": "mean"}], "no option 'gt'; it has all_test"),
        ([{"data": CHEST, "root": "x", "size": 3}], "size belongs to the mix"),
        ([{"data": CHEST, "root": "x", "resize": "pad"}], "resize belongs to the mix"),
        (
            [{"data": PHANTOMS, "domains": ["head"]}, {"data": PHANTOMS, "domains": ["head"]}],
            "two domains are called 'head'",
        ),
    ],
)
def test_faulty_mixes_are_refused_in_one_line(parts: list[dict[str, Any]], word: str) -> None:
    with pytest.raises(MedzooError, match=word) as raised:
        LandmarkMix(parts).check()
    assert "\n" not in str(raised.value)


def test_copying_the_shot_scores_what_hand_arithmetic_says(plain: Maker, chest: Maker) -> None:
    from PIL import Image

    from medzoo.landmark.data import LandmarkFolder

    root = plain("id,x0,y0,x1,y1,split\na0,9.5,19.5,0,0,train\na1,12.5,23.5,,,test\na2,19.5,39.5,0.5,3.5,test\n", 2)
    Image.fromarray(np.full((80, 100), 90, np.uint8)).save(root / "a2.png")
    data = LandmarkFolder(str(root), spacing=[2.0, 1.0])
    # a0 and a1 are 50 × 40, a2 is 100 × 80: there the shot's (9.5, 19.5) lies at (19.5, 39.5) and (0, 0) at (0.5, 0.5).
    errors = [math.hypot(3 * 2, 4), 0.0, 3.0]
    assert copy_shot_baseline(data) == {"folder/mre_mm": pytest.approx(np.mean(errors))}
    both = copy_shot_baseline(LandmarkPhantoms(["head", "hand"], n_train=3, n_test=4, image_size=32))
    assert set(both) == {"head/mre_mm", "hand/mre_mm"}
    assert copy_shot_baseline(Chest(str(chest(8)), all_test=True)) == {}


def test_real_radiographs_are_read_through(real_chests: Path) -> None:
    data = Chest(str(real_chests), size=128, batch_size=16)
    start = time.perf_counter()
    assert data.check() == []
    assert time.perf_counter() - start < 80 * 0.005 + 0.5
    split = data.sources[0].split
    assert (len(split.train), len(split.test)) == (64, 16)
    assert sum(len(batch["id"]) for batch in data.train_dataloader()) == 64
    rows = [line.split(",") for line in (real_chests / "metadata.csv").read_text().splitlines()[1:]]
    patients = {cells[0]: cells[1] for cells in rows}
    assert not {patients[name] for name in split.train} & {patients[name] for name in split.test}
    for batch in evaluation(data):
        inside = (batch["landmarks"] >= -0.5) & (batch["landmarks"] <= batch["original_size"][:, None] - 0.5)
        assert inside.all()
        assert batch["visible"].all()
    assert 45 < copy_shot_baseline(data)["chest/mre_px"] < 100
