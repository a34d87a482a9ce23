from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import Trainer
from PIL import Image
from scipy import ndimage

from medzoo.anomaly.images.coreset import coreset, neighbours
from medzoo.anomaly.images.patches import memory_scores
from medzoo.anomaly.padim.module import PaDiM
from medzoo.anomaly.patchcore.module import PatchCore
from medzoo.core.errors import ConfigError
from medzoo.core.io import read_json

SMALL = {"size": [32, 32], "widths": [8, 12, 16], "weights": "none", "smooth": 1.0}


def plain_coreset(points: np.ndarray, count: int) -> list[int]:
    chosen = [0]
    while len(chosen) < count:
        gaps = np.linalg.norm(points[:, None] - points[chosen][None], axis=-1).min(1)
        chosen.append(int(gaps.argmax()))
    return chosen


@given(st.integers(0, 10_000), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_coreset_is_the_greedy_one(seed: int, count: int) -> None:
    points = np.random.default_rng(seed).normal(size=(40, 6))
    assert coreset(torch.from_numpy(points), count).tolist() == plain_coreset(points, count)


def test_coreset_covers_better_with_every_point_and_never_repeats_one() -> None:
    points = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    order = coreset(points, 300)
    assert len(set(order.tolist())) == 300
    reach = [torch.cdist(points, points[order[:n]]).min(1).values.max().item() for n in (1, 5, 20, 80)]
    assert reach == sorted(reach, reverse=True)
    with pytest.raises(ValueError, match="count"):
        coreset(points, 301)


def test_copies_of_a_point_do_not_stall_the_coreset() -> None:
    points = torch.ones(6, 3)
    points[3] = 2
    assert coreset(points, 2).tolist() == [0, 3]
    assert len(set(coreset(points, 6).tolist())) == 6


def test_neighbours_are_euclidean_and_independent_of_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, bank = torch.rand(50, 7), torch.rand(30, 7)
    whole = neighbours(queries, bank, 3)
    monkeypatch.setattr("medzoo.anomaly.images.coreset._PIECE", 64)
    pieces = neighbours(queries, bank, 3)
    assert torch.allclose(whole[0], pieces[0], atol=1e-6)
    expected = (queries[:, None] - bank).square().sum(-1).sqrt().sort(1).values[:, :3]
    assert torch.allclose(whole[0], expected, atol=1e-4)


def test_scores_stay_finite_at_huge_distances() -> None:
    maps, scores = memory_scores(torch.rand(20, 5), torch.full((2, 5, 3, 3), 1e4), nearest=3)
    assert torch.isfinite(scores).all()
    assert (scores >= 0).all()
    assert (scores <= maps.flatten(1).amax(1)).all()


def test_a_normal_image_of_the_bank_scores_nothing_and_a_spoiled_one_scores_there() -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 3, 32, 32)
    spoiled = image.clone()
    spoiled[..., 4:10, 20:28] = 1 - spoiled[..., 4:10, 20:28]
    net = PatchCore(**SMALL, share=1.0).eval()
    bank = net.reference(image)
    scores, maps = net.score(bank, torch.cat([image, spoiled]))
    assert scores[0] < 1e-2 < scores[1]
    y, x = divmod(int(maps[1].argmax()), 32)
    assert 0 <= y <= 16
    assert 14 <= x <= 32


def test_patchcore_interpolates_the_coarse_level_between_centres_of_cells() -> None:
    torch.manual_seed(0)
    net = PatchCore(**SMALL).eval()
    images = torch.rand(1, 3, 32, 32)
    fine, coarse = (torch.nn.functional.avg_pool2d(f, 3, 1, 1)[0].numpy() for f in next(iter(net.staged(images))))
    found = net.patches(images)[0].numpy()
    assert np.allclose(found[: len(fine)], fine, atol=1e-6)
    at = np.meshgrid(*[(np.arange(4) + 0.5) / 2 - 0.5] * 2, indexing="ij")  # 2 x 2 cells raised to 4 x 4
    for channel, plane in zip(found[len(fine) :], coarse, strict=True):
        assert np.allclose(channel, ndimage.map_coordinates(plane, at, order=1, mode="nearest"), atol=1e-5)


def test_padim_copies_coarse_cells_as_its_public_code_does() -> None:
    net = PaDiM(**SMALL, channels=0).eval()
    images = torch.rand(1, 3, 32, 32)
    coarse = next(iter(net.staged(images)))[2][0].numpy()
    assert np.array_equal(net.features(images)[0, -16:].numpy(), np.kron(coarse, np.ones((1, 4, 4), np.float32)))


def test_maps_are_smoothed_as_scipy_does_up_to_the_border() -> None:
    torch.manual_seed(0)
    net = PaDiM(**{**SMALL, "smooth": 4.0}, channels=0).eval()
    images = torch.rand(3, 3, 32, 32)
    reference = net.reference(images[:2])
    coarse, _ = net.coarse_scores(reference, images)
    fine = torch.nn.functional.interpolate(coarse[:, None], (32, 32), mode="bilinear", align_corners=False)[:, 0]
    scores, maps = net.score(reference, images)
    expected = [ndimage.gaussian_filter(plane, 4.0) for plane in fine.numpy()]
    assert np.allclose(maps.numpy(), expected, rtol=1e-4)
    assert np.allclose(scores.numpy(), np.max(expected, axis=(1, 2)), rtol=1e-4)


@pytest.mark.parametrize("kind", [PaDiM, PatchCore])
def test_an_image_score_is_the_statistic_of_the_map_that_was_asked_for(kind: type[PaDiM] | type[PatchCore]) -> None:
    images = torch.rand(6, 3, 32, 32)
    found = {}
    for rule in ("max", "p95", "mean"):
        torch.manual_seed(0)
        net = kind(**SMALL, score=rule).eval()
        scores, maps = net.score(net.reference(images[:4]), images[4:])
        found[rule] = scores.numpy()
    planes = maps.flatten(1).numpy()
    assert np.allclose(found["mean"], planes.mean(1), rtol=1e-5)
    assert np.array_equal(found["p95"], np.percentile(planes, 95, axis=1, method="inverted_cdf"))
    assert np.allclose(found["max"], planes.max(1)) == (kind is PaDiM)  # PatchCore re-weights its own


def test_padim_keeps_as_many_features_as_asked_and_its_network_still() -> None:
    net = PaDiM(**SMALL, channels=10)
    assert net.features(torch.rand(2, 3, 32, 32)).shape == (2, 10, 8, 8)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    net.train()
    net.features(torch.rand(2, 3, 32, 32))
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    one = net.reference(torch.rand(1, 3, 32, 32))  # a single support leaves the ridge alone
    assert torch.isfinite(net.coarse_scores(one, torch.rand(1, 3, 32, 32))[0]).all()


def test_the_threshold_comes_from_supports_scored_by_the_others() -> None:
    torch.manual_seed(0)
    net = PaDiM(**SMALL, channels=10).eval()
    supports = torch.rand(5, 3, 32, 32)
    level = net.threshold_of(supports)
    own = net.score(net.reference(supports), supports)[0].max().item()
    assert level > 1.5 * own  # an image is closer to a reference that has seen it
    assert np.isnan(net.threshold_of(supports[:1]))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_no_threshold_promises_no_false_alarm_or_nothing_but_them(share: float) -> None:
    with pytest.raises(ConfigError, match="false_alarms: expected between 0 and 1"):
        PaDiM(**SMALL, channels=10, false_alarms=share)


def test_no_support_is_scored_by_another_of_its_patient() -> None:
    torch.manual_seed(0)
    net = PaDiM(**SMALL, channels=10).eval()
    three = torch.rand(3, 3, 32, 32)
    twice = three.repeat_interleave(2, 0)  # two equal images of each of three patients
    level = net.threshold_of(twice, patients=[0, 0, 1, 1, 2, 2])
    apart = [float(net.score(net.reference(twice[[i for i in range(6) if i // 2 != k]]), three[k : k + 1])[0])
             for k in range(3)]  # fmt: skip
    assert level == pytest.approx(max(apart), rel=1e-4)
    assert level > 1.5 * net.threshold_of(twice)
    assert np.isnan(net.threshold_of(twice, patients=[4] * 6))
    assert net.threshold_of(three, patients=[0, 1, 2]) == net.threshold_of(three)


def test_a_threshold_that_is_chosen_again_knows_the_patients_of_the_supports(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split, kinds in (("train", ("NORMAL",)), ("test", ("NORMAL", "DRUSEN"))):
        for kind in kinds:
            (tmp_path / split / kind).mkdir(parents=True)
            for i in range(4):
                number = 10 + i // 2 if split == "train" else 20 + i
                image = rng.integers(0, 255, (32, 32)).astype(np.uint8)
                Image.fromarray(image).save(tmp_path / split / kind / f"{kind}-{number}-{i}.png")
    from medzoo.core.cli import main

    data = f"--data class-folder --data.root {tmp_path} --data.shots null --trainer.accelerator cpu"
    fit = f"fit --model padim {data} --model.size 32 --model.widths [8,12,16]"
    first, second = (["--model.score", rule] for rule in ("max", "mean"))
    main([*fit.split(), *first, "--run_dir", str(tmp_path / "one")])
    main([*fit.split(), *second, "--run_dir", str(tmp_path / "other")])
    path = str(tmp_path / "one" / "checkpoints" / "last.ckpt")
    saved = torch.load(path, weights_only=False)
    assert saved["support_patients"] == {tmp_path.name: [0, 0, 1, 1]}
    main(["test", "--ckpt_path", path, *second, "--run_dir", str(tmp_path / "again")])
    once, again = ((tmp_path / run / "samples.csv").read_text() for run in ("other", "again"))
    assert again == once


@pytest.mark.parametrize("model", ["padim", "patchcore"])
def test_baselines_run_from_the_command_line(model: str, workdir: Path) -> None:
    from medzoo.core.cli import main

    main(
        f"fit --model {model} --data.train 4 --data.test 4 --data.pixels 32 --model.size [32,32] "
        "--model.widths [8,12,16] --data.test_categories [gear] --trainer.accelerator cpu --run_dir run".split()
    )
    metrics = read_json(workdir / "run" / "results.json")["metrics"]
    assert {"gear/image_auroc", "gear/aupro", "gear/specificity"} <= set(metrics)
    main(["test", "--ckpt_path", "run/checkpoints/last.ckpt", "--trainer.accelerator", "cpu", "--run_dir", "again"])
    again = read_json(workdir / "again" / "results.json")["metrics"]
    assert again == metrics


def test_a_test_with_another_rule_of_the_score_has_its_own_threshold(workdir: Path) -> None:
    from medzoo.core.cli import main

    common = "--data.train 6 --data.test 2 --data.pixels 32 --data.test_categories [gear] --trainer.accelerator cpu"
    fit = f"fit --model padim {common} --model.size 32 --model.widths [8,12,16]"
    main(f"{fit} --run_dir largest".split())
    main(f"{fit} --model.score mean --run_dir mean".split())
    main(["test", "--ckpt_path", "largest/checkpoints/last.ckpt", "--model.score", "mean", "--run_dir", "again"])
    once, again = ((workdir / run / "samples.csv").read_text() for run in ("mean", "again"))
    assert again == once


def test_what_trains_nothing_refuses_to_be_fitted_by_two_processes() -> None:
    net = PaDiM(**SMALL)
    trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, barebones=True)
    net.trainer = trainer
    net.setup("test")
    with pytest.raises(ConfigError, match="1 device"):
        net.setup("fit")
