"""What methods share that train on the tested categories themselves; ARNet stands for them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from medzoo.anomaly.arnet.module import ARNet
from medzoo.anomaly.data.textures import TexturePhantoms
from medzoo.core.cli import main
from medzoo.core.data.wants import Wants
from medzoo.core.errors import CheckpointError
from medzoo.core.io import read_json

DATA = "--data.train 10 --data.pixels 32 --trainer.accelerator cpu"


def fitted(folder: Path, test: int, shots: str = "null", category: str = "gear") -> Path:
    main(
        f"fit --model arnet {DATA} --data.test {test} --data.shots {shots} --data.test_categories [{category}] "
        f"--model.size 32 --model.width 2 --model.epochs 2 --run_dir {folder}".split()
    )
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(tmp_path_factory.mktemp("oneclass") / "run", test=6)


def test_every_fifth_normal_image_is_kept_for_the_threshold() -> None:
    data = TexturePhantoms(train=11, test=2, pixels=32, shots=None, test_categories=["gear"])
    learnt, kept = data.own_items(data.tested[0])
    assert (len(learnt), len(kept)) == (9, 2)
    assert not set(learnt) & set(kept)
    few = TexturePhantoms(train=11, test=2, pixels=32, shots=4, test_categories=["gear"])
    assert [len(part) for part in few.own_items(few.tested[0])] == [4, 0]


@pytest.mark.parametrize(("patients", "held"), [(12, {"4", "9"}), (3, {"2"}), (1, set())])
def test_no_patient_is_learnt_from_and_kept_for_the_threshold(patients: int, held: set[str]) -> None:
    data = TexturePhantoms(train=24, test=2, pixels=32, shots=None, test_categories=["gear"])
    (category,) = data.tested
    owned = tuple(replace(item, patient=str(i % patients)) for i, item in enumerate(category.train))
    learnt, kept = data.own_items(replace(category, train=owned))
    assert {item.patient for item in kept} == held
    assert {item.patient for item in learnt} == {str(i) for i in range(patients)} - held
    assert len(learnt) + len(kept) == 24


def test_training_batches_hold_learnt_images_of_one_tested_category_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    data = TexturePhantoms(
        train=10, test=2, pixels=32, size=32, shots=None, test_categories=["gear", "pill"], batch_size=3
    )
    monkeypatch.setattr(TexturePhantoms, "wants", Wants(tested=True))
    learnt = {item.id for category in data.tested for item in data.own_items(category)[0]}
    batches = list(data.train_dataloader())
    assert {name for batch in batches for name in batch["id"]} == learnt
    assert all(len(set(batch["source"])) == 1 for batch in batches)
    assert all("support" not in batch for batch in batches)


def test_means_and_thresholds_come_from_normal_images(trained: Path) -> None:
    saved = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    net = ARNet.load_from_checkpoint(trained / "checkpoints" / "last.ckpt", map_location="cpu").eval()
    data = TexturePhantoms(train=10, test=2, pixels=32, shots=None, test_categories=["gear"])
    learnt, kept = (
        torch.stack([torch.from_numpy(item.load()) for item in items]) for items in data.own_items(data.tested[0])
    )
    with torch.no_grad():
        parts, held = net.parts(learnt)[0], net.parts(kept)[0]
    norms = torch.stack([parts.mean(0), parts.std(0, correction=0)])
    assert torch.allclose(saved["norms"]["gear"], norms, rtol=1e-2)  # images on the way are 16-bit
    assert saved["thresholds"]["gear"] == pytest.approx(net.joined(held, norms).max().item(), rel=1e-2)


def test_tested_images_leave_no_trace_in_the_checkpoint(trained: Path, workdir: Path) -> None:
    runs = (trained, fitted(workdir / "other", test=2))
    one, other = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in runs)
    assert one["thresholds"] == other["thresholds"]
    assert torch.equal(one["norms"]["gear"], other["norms"]["gear"])
    assert all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())


def test_a_category_that_it_was_not_trained_on_is_refused(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = trained / "checkpoints" / "last.ckpt"
    command = f"test --ckpt_path {checkpoint} {DATA} --data.test 4 --data.test_categories [screw]"
    assert main([*command.split(), "--run_dir", str(trained.parent / "screw")]) == 2
    assert "the model was trained on gear, not on screw" in capsys.readouterr().err


def test_a_setting_that_the_threshold_is_not_of_is_refused(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = trained / "checkpoints" / "last.ckpt"
    command = f"test --ckpt_path {checkpoint} --run_dir {trained.parent / 'other'}"
    assert main(f"{command} --model.smooth 1".split()) == 2
    assert "--model.smooth: the checkpoint's threshold is not of 1" in capsys.readouterr().err
    assert main(f"{command} --model.batch 3".split()) == 0


def test_too_few_normal_images_leave_the_threshold_open(workdir: Path) -> None:
    run = fitted(workdir / "few", test=2, shots="4")
    assert math.isnan(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["thresholds"]["gear"])
    metrics = read_json(run / "results.json")["metrics"]
    assert metrics["gear/image_auroc"] is not None
    assert metrics["gear/specificity"] is None
    assert metrics["gear/sensitivity"] is None


@pytest.mark.parametrize("change", [{"norms": {"gear": torch.ones(3)}}, {"thresholds": {}}, {"norms": 3}])
def test_damaged_checkpoints_are_refused(change: dict[str, object]) -> None:
    saved = {"norms": {"gear": torch.ones(2, 4)}, "thresholds": {"gear": 1.0}}
    net = ARNet(size=32, width=2)
    net.on_load_checkpoint(dict(saved))
    assert net.known_sources == ("gear",)
    with pytest.raises(CheckpointError):
        net.on_load_checkpoint({**saved, **change})
