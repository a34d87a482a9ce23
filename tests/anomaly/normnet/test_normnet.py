from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medzoo.anomaly.normnet.examples import _thick
from medzoo.anomaly.normnet.losses import labels, normalcy_loss
from medzoo.anomaly.normnet.module import NormNet
from medzoo.anomaly.normnet.network import UNet3d
from medzoo.anomaly.normnet.segment import Growth, grow, level_of, seeds, windowed
from medzoo.core.errors import ConfigError
from medzoo.core.geometry.boxes import box_of
from medzoo.core.inference.sliding import probability
from medzoo.core.io import read_json
from medzoo.core.phantoms.ct import lung_ct
from medzoo.core.plots import mosaic
from medzoo.core.tasks.lesions import lesion_table

TINY = {"widths": [4, 8], "patch": [16, 16, 16], "members": 2}


def test_window_maps_minus_800_to_0_and_100_to_1() -> None:
    assert windowed(torch.tensor([-1000.0, -800.0, -350.0, 100.0, 400.0])).tolist() == [0, 0, 0.5, 1, 1]
    assert level_of(-500) == pytest.approx(1 / 3)


def test_the_gradient_is_exactly_zero_on_dark_voxels() -> None:
    logits = torch.randn(1, 1, 8, 8, 8, requires_grad=True)
    bright = torch.rand(1, 1, 8, 8, 8) < 0.3
    normalcy_loss(logits, (torch.rand(1, 1, 8, 8, 8) < 0.7).float(), bright, focus=2.0).backward()
    assert logits.grad is not None
    assert not logits.grad[~bright].any()
    assert (logits.grad[bright] != 0).all()


def test_a_training_step_learns_from_bright_voxels_of_the_organ_alone() -> None:
    torch.manual_seed(0)
    net = NormNet(**{**TINY, "members": 1})
    seen: list[torch.Tensor] = []

    def keep(_: torch.nn.Module, inputs: tuple[torch.Tensor], logits: torch.Tensor) -> None:
        logits.retain_grad()
        seen.extend((inputs[0], logits))

    net.networks[0].register_forward_hook(keep)
    net.log = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    organ = torch.zeros(2, 1, 16, 16, 16, dtype=torch.bool)
    organ[..., 2:14] = True
    hu = torch.where(torch.rand(organ.shape) < 0.2, -100.0, -820.0)  # bright ones outside of the organ too
    net.training_step({"image": hu, "organ": organ, "spacing": torch.full((2, 3), 3.0)}, 0).backward()
    image, logits = seen
    assert logits.grad is not None
    bright = image >= net.level
    assert 0 < bright.float().mean() < 0.9
    assert not bright[~organ.flatten(0, 1)[:, None]].any()  # the organ is its own mirror image
    assert torch.equal(logits.grad != 0, bright)


def test_a_right_answer_costs_less_than_a_wrong_one_and_no_bright_voxel_nothing() -> None:
    target = (torch.rand(500) < 0.7).float()
    everywhere = torch.ones(500, dtype=torch.bool)
    right, wrong = (target * 2 - 1) * 8, (1 - target * 2) * 8
    assert normalcy_loss(right, target, everywhere) < 0.05 < 5 < normalcy_loss(wrong, target, everywhere)
    empty = normalcy_loss(right.requires_grad_(), target, ~everywhere)
    assert empty == 0
    empty.backward()  # a step without bright voxels is no error


def test_loss_equals_its_equation() -> None:
    logits, target = torch.tensor([0.0, 2.0, -1.0]), torch.tensor([1.0, 0.0, 0.0])
    p = torch.sigmoid(logits)
    entropy = -(torch.log(p[0]) + torch.log(1 - p[1]) + torch.log(1 - p[2])) / 3
    overlap = (2 * ((1 - p[1]) + (1 - p[2])) + 1) / ((1 - p).sum() + 2 + 1)
    value = normalcy_loss(logits, target, torch.ones(3, dtype=torch.bool))
    assert value.item() == pytest.approx((entropy + 1 - overlap).item(), abs=1e-6)


def test_vessels_inside_a_lesion_are_normal_only_if_asked() -> None:
    before, added = torch.tensor([0.8, 0.1, 0.8, 0.1]), torch.tensor([0.3, 0.3, 0.0, 0.01])
    assert labels(before, added, 0.33, 0.05, keep_vessels=True).tolist() == [1, 0, 1, 1]
    assert labels(before, added, 0.33, 0.05, keep_vessels=False).tolist() == [0, 0, 1, 1]


def test_network_keeps_the_size_and_trains_every_parameter() -> None:
    net = UNet3d((4, 8, 12))
    out = net(torch.rand(2, 1, 16, 12, 8))
    assert out.shape == (2, 1, 16, 12, 8)
    out.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def random_case(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    volume = torch.rand(14, 16, 16, generator=rng)
    organ = torch.zeros(14, 16, 16, dtype=torch.bool)
    organ[2:12, 3:14, 2:15] = True
    return torch.rand(14, 16, 16, generator=rng), volume, organ


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_raising_the_threshold_shrinks_the_seeds_and_growth_never_removes_or_leaves_the_organ(seed: int) -> None:
    normal, volume, organ = random_case(seed)
    low, high = (seeds(normal, volume, organ, level_of(hu), 0.5) for hu in (-600, -400))
    assert not (high & ~low).any()
    grown = grow(low, normal, volume, organ, Growth(smallest=0), (1, 1, 1))
    assert not (low & ~grown).any()
    assert not (grown & ~organ).any()


def test_growth_fills_the_dark_border_but_not_what_is_surely_normal() -> None:
    organ = torch.ones(16, 16, 16, dtype=torch.bool)
    mask = torch.zeros_like(organ)
    mask[5:11, 5:11, 5:11] = True
    volume, normal = torch.full((16, 16, 16), 0.2), torch.full((16, 16, 16), 0.6)
    normal[:, :, 11:] = 0.95
    grown = grow(mask, normal, volume, organ, Growth(), (1, 1, 1))
    assert grown[7, 7, 4]
    assert not grown[:, :, 11:].any()
    assert not grow(mask, normal, volume * 0, organ, Growth(), (1, 1, 1))[7, 7, 4]  # air is no lesion


def test_regions_below_the_least_volume_are_dropped_in_millimetres() -> None:
    mask = torch.zeros(12, 12, 12, dtype=torch.bool)
    mask[1:3, 1:3, 1:3] = True  # 8 voxels
    organ, plain = mask.clone(), torch.ones(12, 12, 12)
    rule = Growth(rounds=0, smallest=30)
    assert not grow(mask, plain, plain, organ, rule, (1, 1, 1)).any()
    assert grow(mask, plain, plain, organ, rule, (2, 2, 2)).sum() == 8


def test_sliding_window_equals_monai_with_the_same_network_and_averages_members() -> None:
    from monai.inferers import sliding_window_inference

    nets = [UNet3d((4, 8)).eval() for _ in range(2)]
    volume = torch.rand(20, 24, 28)
    with torch.no_grad():
        found = probability(volume, nets, (16, 16, 16), 0.5, torch.device("cpu"))
        each = [
            sliding_window_inference(
                volume[None, None], (16, 16, 16), 1, lambda x, n=n: torch.sigmoid(n(x)), overlap=0.5, mode="gaussian"
            )[0, 0]
            for n in nets
        ]
    assert torch.allclose(found, (each[0] + each[1]) / 2, atol=1e-6)


def test_box_of_the_organ_has_a_margin_and_stays_inside() -> None:
    organ = np.zeros((10, 20, 30), dtype=bool)
    organ[1:4, 8:12, 20:29] = True
    assert box_of(organ, 2) == (slice(0, 6), slice(6, 14), slice(18, 30))
    assert box_of(np.zeros((4, 5, 6), dtype=bool), 1) == (slice(0, 4), slice(0, 5), slice(0, 6))


def test_labels_and_bright_voxels_turn_with_the_image() -> None:
    net = NormNet(**TINY, noise=0.0, thick=0.0, threshold_hu=-500, keep_vessels=False)
    organ = torch.zeros(16, 16, 16, dtype=torch.bool)
    organ[:, :, :8] = True
    healthy = torch.full((16, 16, 16), 0.1) * organ
    for seed in range(12):
        image, target, bright = net.insert_lesions(healthy, organ, [4, 4, 4], torch.Generator().manual_seed(seed))
        assert torch.equal(bright, image >= net.level)
        assert not target[bright].any()  # nothing healthy is bright here, so all that is bright is lesion


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("depth", [8, 16, 20])
def test_thick_slices_leave_what_they_average_in_its_place(count: int, depth: int) -> None:
    ramp = torch.arange(float(depth))[:, None, None].expand(depth, 4, 4)
    inner = slice(count, depth - count)  # at the ends there is nothing to interpolate with
    torch.testing.assert_close(_thick(ramp, count)[inner], ramp[inner])


def test_a_validation_chooses_the_threshold_unless_it_is_given() -> None:
    score = torch.linspace(0, 1, 101)
    for preset, expected in ((None, 0.8), (0.3, 0.3)):
        net = NormNet(**TINY, preset_threshold=preset)
        net.log = lambda *_, **__: None  # type: ignore[method-assign, assignment]
        net.validation = [(score, score > 0.795)]
        net.on_validation_epoch_end()
        assert float(net.state_dict()["threshold"]) == pytest.approx(expected)


def test_settings_that_cannot_work_are_refused_in_one_line() -> None:
    for wrong, text in (
        ({"patch": [15, 16, 16]}, "patch"),
        ({"members": 0}, "members"),
        ({"preset": "kidney"}, "preset"),
        ({"preset_threshold": 30.0}, "preset_threshold"),
    ):
        with pytest.raises(ConfigError, match=text):
            NormNet(**{**TINY, **wrong})


def test_lesion_table_gives_volume_and_place() -> None:
    mask, score = np.zeros((10, 12, 14), bool), np.zeros((10, 12, 14), np.float32)
    mask[2:4, 3:5, 6:8], score[2:4, 3:5, 6:8] = True, 0.75
    mask[8, 9, 1] = True
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    affine[:3, 3] = (10, 20, 30)
    mirrored = np.diag([-1.0, 1.0, 1.0, 1.0])  # the file counts x from the other side
    mirrored[0, 3] = 13
    rows = lesion_table("case", mask, score, (2, 2, 5), affine, mirrored)
    assert [row["volume_ml"] for row in rows] == [0.16, 0.02]  # 8 and 1 voxels of 20 mm³
    assert (rows[0]["x"], rows[0]["y"], rows[0]["z"]) == (13 - 6.5, 3.5, 2.5)
    assert (rows[0]["x_mm"], rows[0]["y_mm"], rows[0]["z_mm"]) == (23.0, 27.0, 42.5)
    assert rows[0]["mean_score"] == 0.75
    assert lesion_table("none", mask & False, score, (1, 1, 1), affine, mirrored) == []


def test_mosaic_shows_the_slices_with_most_of_the_lesion() -> None:
    mask = np.zeros((9, 8, 8), bool)
    mask[6, 2:5, 2:5], mask[2, 3, 3] = True, True
    figure = mosaic(np.zeros((9, 8, 8), np.float32), mask.astype(np.float32), mask, slices=2)
    assert [ax.get_title() for ax in figure.axes[:2]] == ["slice 2", "slice 6"]


def fitted(folder: Path, test: str) -> Path:
    """Fit for two epochs on small phantoms through the command line."""
    from medzoo.core.cli import main

    main(
        f"fit --model normnet --data.train 2 --data.val 1 {test} --data.size [32,32,40] --model.widths [4,8] "
        "--model.patch [16,16,16] --model.epochs 2 --trainer.check_val_every_n_epoch 2 "
        f"--trainer.accelerator cpu --run_dir {folder}".split()
    )
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(tmp_path_factory.mktemp("normnet") / "run", "--data.test 2")


def test_a_fit_leaves_figures_tables_and_the_threshold_of_the_validation(trained: Path) -> None:
    metrics = read_json(trained / "results.json")["metrics"]
    assert {"all/dice", "all/lesion_sensitivity", "all/alarms_per_volume", "voxels/auroc_in_organ"} <= set(metrics)
    assert (trained / "lesions.csv").is_file()
    assert len((trained / "samples.csv").read_text().splitlines()) == 3
    assert len(list((trained / "figures").glob("*.png"))) == 2
    state = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert float(state["threshold"]) != 0.5


def test_the_tested_volumes_leave_no_trace_in_the_checkpoint(trained: Path, workdir: Path) -> None:
    runs = (trained, fitted(workdir / "other", "--data.test 1 --data.kinds [nodule]"))
    one, other = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in runs)
    assert all(torch.equal(value, other[name]) for name, value in one.items())  # the threshold among them


def test_predictions_take_the_threshold_of_the_checkpoint_unless_it_is_given(trained: Path, workdir: Path) -> None:
    from medzoo.core.cli import main

    checkpoint = trained / "checkpoints" / "last.ckpt"
    kept = float(torch.load(checkpoint, weights_only=True)["state_dict"]["threshold"])
    masks = []
    for number, option in enumerate(("", "--model.preset_threshold 0.1", "--model.preset_threshold 0.9")):
        main(f"predict --ckpt_path {checkpoint} {option} --trainer.accelerator cpu --run_dir {number} --quiet".split())
        record = read_json(workdir / str(number) / "predictions.json")["predictions"][0]
        assert record["threshold"] == pytest.approx(float(option[-3:]) if option else kept)
        masks.append(np.asarray(nibabel.load(Path(record["folder"]) / "mask.nii.gz").dataobj) != 0)
    assert not (masks[2] & ~masks[1]).any()
    assert masks[2].sum() < masks[1].sum()


def test_a_prediction_lies_on_the_file_it_was_made_from(trained: Path, workdir: Path) -> None:
    from medzoo.core.cli import main

    made = lung_ct(3, (32, 32, 40), ("consolidation",))
    (workdir / "own" / "image").mkdir(parents=True)
    affine = np.diag([-8.0, -7.8, 6.9, 1.0])
    affine[:3, 3] = (100, 90, -40)
    nibabel.save(nibabel.Nifti1Image(made.image.astype(np.int16).T, affine), workdir / "own" / "image" / "p1.nii.gz")
    checkpoint = trained / "checkpoints" / "last.ckpt"
    main(
        f"predict --ckpt_path {checkpoint} --data nifti-volumes --data.root own --trainer.accelerator cpu "
        "--run_dir out".split()
    )
    folder = workdir / "out" / "volumes" / "p1"
    assert {p.name for p in folder.iterdir()} == {"score.nii.gz", "mask.nii.gz", "lesions.csv", "mosaic.png"}
    for name in ("score", "mask"):
        written = nibabel.load(folder / f"{name}.nii.gz")
        assert np.allclose(written.affine, affine)
        assert written.shape == (40, 32, 32)
    record = read_json(workdir / "out" / "predictions.json")["predictions"][0]
    mask = np.asarray(nibabel.load(folder / "mask.nii.gz").dataobj)
    assert record["volume_ml"] == pytest.approx(mask.sum() * 8.0 * 7.8 * 6.9 / 1000, rel=1e-3, abs=1e-3)


def test_own_folders_go_from_healthy_volumes_to_masks_on_their_grid(workdir: Path) -> None:
    """The commands of docs/own_ct.md, with a network of a second."""
    from medzoo.core.cli import main

    sick = lung_ct(9, (20, 24, 28), ("consolidation",))
    for folder, name, made in (
        *(("healthy", f"h{i}", lung_ct(i, (20, 24, 28))) for i in range(3)),
        ("image", "p1", sick),
    ):
        for kind, values in ((folder, made.image.astype(np.int16)), ("organ", made.lungs.astype(np.uint8))):
            (workdir / "ct" / kind).mkdir(parents=True, exist_ok=True)
            file = nibabel.Nifti1Image(values.T, np.diag([*made.spacing, 1.0]))
            nibabel.save(file, workdir / "ct" / kind / f"{name}.nii.gz")
    (workdir / "ct" / "mask").mkdir()
    file = nibabel.Nifti1Image((sick.lesions > 0).astype(np.uint8).T, np.diag([*sick.spacing, 1.0]))
    nibabel.save(file, workdir / "ct" / "mask" / "p1.nii.gz")
    data = "--data nifti-volumes --data.root ct --data.spacing 12"
    assert not main(["check", *data.split()[:4]])
    small = "--model.widths [2,4] --model.patch [8,8,8] --model.epochs 1 --trainer.check_val_every_n_epoch 1"
    assert not main(f"fit --model normnet {data} {small} --trainer.accelerator cpu --run_dir run".split())
    assert "all/dice" in read_json(workdir / "run" / "results.json")["metrics"]
    common = f"--ckpt_path run/checkpoints/last.ckpt {data} --trainer.accelerator cpu"
    assert not main(f"predict {common} --run_dir out".split())
    assert nibabel.load(workdir / "out" / "volumes" / "p1" / "mask.nii.gz").shape == (28, 24, 20)
    assert not main(f"predict {common} --model.preset_threshold 0.3 --run_dir other".split())
    assert read_json(workdir / "other" / "predictions.json")["predictions"][0]["threshold"] == pytest.approx(0.3)
