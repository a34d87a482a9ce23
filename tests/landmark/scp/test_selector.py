"""SCP: key points, similarity, search, and the selection from the command line, without a label."""

from __future__ import annotations

import csv
import inspect
import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import docstring_parser
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr
from torch import Tensor, nn

from medzoo.core.cli import main
from medzoo.core.errors import ConfigError
from medzoo.core.phantoms import ANATOMIES, radiograph
from medzoo.core.registry import find
from medzoo.landmark.cc2d.module import CC2D
from medzoo.landmark.data import LandmarkPhantoms, LandmarkSource
from medzoo.landmark.data.datasets import UnlabelledImages
from medzoo.landmark.data.sources import Points
from medzoo.landmark.matching.embedder import Embedder
from medzoo.landmark.matching.search import find as find_points
from medzoo.landmark.matching.search import take_templates
from medzoo.landmark.scp import keypoints
from medzoo.landmark.scp.search import greedy, random_search, set_score
from medzoo.landmark.scp.selector import SCP, FrozenFeatures
from medzoo.landmark.scp.similarity import best_match, representativeness, templates_of, unit

STRIDES = (8, 4, 2)


class Oriented(nn.Module):
    """A fixed embedder of gradients at three scales, which needs no training."""

    strides = STRIDES

    def forward(self, image: Tensor, domain: int) -> list[Tensor]:
        del domain
        maps = []
        for stride in STRIDES:
            small = nn.functional.avg_pool2d(image, stride)
            padded = nn.functional.pad(small, (3, 3, 3, 3), mode="replicate")
            patches = nn.functional.unfold(padded, 7).unflatten(2, small.shape[-2:])  # (B, 49, h, w)
            maps.append(patches - patches.mean(dim=1, keepdim=True))
        return maps


def images(count: int, side: int = 96) -> Tensor:
    return torch.stack([torch.from_numpy(radiograph("head", seed, side).image) for seed in range(count)])[:, None]


# Key points


@pytest.mark.parametrize("propose", [keypoints.difference_of_gaussians, keypoints.grid])
def test_key_points_keep_their_distance_from_each_other_and_from_all_four_borders(
    propose: keypoints.KeypointProposal,
) -> None:
    image = radiograph("head", 0, 384).image
    points = keypoints.thin(propose(image), (384, 384))
    assert len(points) >= 20
    gaps = np.linalg.norm(points[:, None] - points[None], axis=-1)[np.triu_indices(len(points), 1)]
    assert gaps.min() >= 10
    assert ((points + 0.5 >= 38.4) & (points + 0.5 <= 384 - 38.4)).all()


def test_a_bright_and_a_dark_disc_are_found_at_their_centres_the_stronger_first() -> None:
    y, x = np.mgrid[:96, :96]
    image = np.full((96, 96), 0.5, np.float32)
    image[np.hypot(x - 30.5, y - 40) < 4] = 1.0
    image[np.hypot(x - 70, y - 60.5) < 4] = 0.3
    points = keypoints.difference_of_gaussians(image)
    assert np.linalg.norm(points[0] - (30.5, 40), axis=-1) <= 1
    assert np.linalg.norm(points - (70, 60.5), axis=-1).min() <= 1


@pytest.mark.parametrize(("width", "step"), [(2, 0.5), (4, 1), (8, 2), (16, 4)])
def test_spots_of_every_width_are_found_at_their_centres(width: float, step: float) -> None:
    y, x = np.mgrid[:256, :256]
    for centre in ((119.75, 135.75), (99.75, 115.75)):  # on a pixel of each octave that finds such spots
        image = 0.1 + 0.8 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * width**2))
        first = keypoints.difference_of_gaussians(image.astype(np.float32), contrast=0.01)[0]
        assert np.abs(first - centre).max() <= step / 4


def test_edges_and_faint_spots_are_no_key_points() -> None:
    step = np.zeros((64, 64), np.float32)
    step[:, 32:] = 1.0
    assert len(keypoints.difference_of_gaussians(step)) == 0
    y, x = np.mgrid[:64, :64]
    faint = (0.5 + 0.005 * (np.hypot(x - 30, y - 30) < 4)).astype(np.float32)
    assert len(keypoints.difference_of_gaussians(faint)) == 0
    assert len(keypoints.difference_of_gaussians(faint, contrast=0.001)) >= 1


# Similarity


def own_templates(batch: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Maps of some heads, and the embeddings at the key points of each."""
    maps = unit(Oriented()(batch, 0))
    points = [
        torch.from_numpy(keypoints.thin(keypoints.difference_of_gaussians(i[0].numpy()), (96, 96))).float()
        for i in batch
    ]
    return maps, templates_of(maps, points, STRIDES)


@pytest.fixture(scope="module")
def similarity() -> Tensor:
    """`m` of 12 heads."""
    return representativeness(*own_templates(images(12)))


def test_every_key_point_is_found_in_its_own_image_and_nowhere_better() -> None:
    maps, templates = own_templates(images(6))
    for i, own in enumerate(templates):
        matched = best_match(maps, own)  # (6, P)
        assert matched.shape[1] >= 5
        assert (matched[i] >= 1 - 1e-3).all()
        assert (matched[i] >= matched.amax(dim=0) - 1e-5).all()


def test_an_image_matches_itself_perfectly_and_best(similarity: Tensor) -> None:
    assert (similarity.diagonal() >= 1 - 1e-3).all()
    assert (similarity.argmax(dim=1) == torch.arange(12)).all()
    assert ((similarity >= 0) & (similarity <= 1 + 1e-5)).all()


def test_the_best_match_is_the_maximum_of_the_product_at_full_resolution() -> None:
    torch.manual_seed(0)
    maps = unit([torch.randn(2, 5, 4, 3), torch.randn(2, 5, 8, 6), torch.randn(2, 5, 16, 12)])
    templates = [torch.nn.functional.normalize(torch.randn(7, 5), dim=1) for _ in maps]
    product = torch.ones(2, 7, 16, 12)
    for m, t in zip(maps, templates, strict=True):
        for b, p, y, x in np.ndindex(2, 7, 16, 12):
            product[b, p, y, x] *= max(0.0, float(t[p] @ m[b, :, y * m.shape[2] // 16, x * m.shape[3] // 12]))
    torch.testing.assert_close(best_match(maps, templates), product.flatten(2).amax(2), rtol=1e-4, atol=1e-6)


def test_an_image_without_key_points_represents_nothing() -> None:
    maps = unit([torch.randn(3, 5, 4, 4)])
    assert (representativeness(maps, [[torch.empty(0, 5)]]) == 0).all()


# Search


def test_the_score_is_monotone_and_submodular() -> None:
    rng = np.random.default_rng(0)
    m = rng.random((15, 20))
    for _ in range(1000):
        large = rng.permutation(15)[: rng.integers(1, 14)]
        small = large[: rng.integers(0, len(large) + 1)]
        new = rng.choice([i for i in range(15) if i not in large])
        gain_small = set_score(m, [*small, new]) - set_score(m, small)
        gain_large = set_score(m, [*large, new]) - set_score(m, large)
        assert gain_large >= 0
        assert gain_small >= gain_large - 1e-12


def test_greedy_takes_the_best_single_image_first_and_reaches_its_guarantee(similarity: Tensor) -> None:
    m = similarity.double().numpy()
    chosen = greedy(m, 3)
    assert chosen[0] == m.mean(axis=1).argmax()
    assert len(set(chosen)) == 3
    best = max(set_score(m, subset) for subset in combinations(range(12), 3))
    assert set_score(m, chosen) >= (1 - 1 / np.e) * best
    gains = [set_score(m, chosen[: k + 1]) - set_score(m, chosen[:k]) for k in range(3)]
    assert all(a >= b for a, b in pairwise(gains))


def test_greedy_comes_within_a_hundredth_of_the_best_of_ten_thousand_random_sets(similarity: Tensor) -> None:
    m = similarity.double().numpy()
    drawn = random_search(m, 3, 10_000, seed=0)
    best = set_score(m, drawn)  # of 12 images there are 220 sets, so that this is the best of all
    assert set_score(m, greedy(m, 3)) >= 0.99 * best


def test_random_sets_hold_any_image_once_and_are_the_best_drawn() -> None:
    m = np.eye(4)[:, :3].copy()
    m[0] *= 0.5
    for seed in range(5):
        assert sorted(random_search(m, 3, 200, seed)) == [0, 1, 2]
    assert random_search(m, 3, 200, 1) == random_search(m, 3, 200, 1)


# Selection


def corrupted(source: LandmarkSource, names: Sequence[str]) -> None:
    """Cover half of some images, or turn them by a right angle."""
    read = source.images.read

    def spoiled(name: str) -> Any:
        image = read(name)
        if name not in names:
            return image
        array = image.array.copy()
        if names.index(name) % 2:
            return replace(image, array=np.ascontiguousarray(np.rot90(array)))
        array[:, : array.shape[1] * 3 // 5] = 0
        return replace(image, array=array)

    source.images.read = spoiled  # type: ignore[method-assign]


def without_labels(data: LandmarkPhantoms) -> LandmarkPhantoms:
    """Make every door to labels raise."""

    def touched(name: str, *rest: object) -> Points:
        raise AssertionError(f"the label of {name} was read")

    for source in data.sources:
        source.points = source.labelled = source.observers = source.scale = touched  # type: ignore[assignment, method-assign]
    return data


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> SCP:
    """A selector whose backbone is the fixed embedder."""
    selector = SCP(backbone="oriented", size=96)
    monkeypatch.setattr(selector, "_embedder", lambda model: (Oriented(), (96, 96)))
    return selector


def test_corrupted_images_are_never_chosen_first_and_no_label_is_read(frozen: SCP) -> None:
    data = without_labels(LandmarkPhantoms(domains=["head", "hand"], n_train=20, image_size=96))
    bad = {source.domain.name: source.split.train[3:7] for source in data.sources}
    for source in data.sources:
        corrupted(source, bad[source.domain.name])
    choices = frozen.select(None, data, 3)
    assert [(c.domain, c.rank) for c in choices] == [(d, r) for d in ("head", "hand") for r in (1, 2, 3)]
    for choice in choices:
        assert choice.rank > 1 or choice.id not in bad[choice.domain]
    for domain in ("head", "hand"):
        own = [c for c in choices if c.domain == domain]
        assert own[-1].score == pytest.approx(sum(c.gain for c in own))


def test_the_score_of_a_template_tells_its_error_among_spoiled_ones() -> None:
    data = LandmarkPhantoms(domains=["head"], n_train=20, image_size=96, size=96)
    (source,) = data.sources
    corrupted(source, source.split.train[::5])
    names = source.split.train
    unlabelled = data._images([(0, name) for name in names])
    m = SCP(backbone="oriented", size=96).similarity(Oriented(), unlabelled, 0)
    batch = torch.stack([unlabelled[i]["image"] for i in range(20)])
    maps = unit(Oriented()(batch, 0))
    truth = torch.stack([torch.from_numpy(source.points(name, (96, 96))) for name in names]).float()
    good = [i for i in range(20) if i % 5]
    errors = []
    for i in range(20):
        templates = take_templates([f[i : i + 1] for f in maps], truth[i : i + 1], STRIDES)
        found = find_points([f[good] for f in maps], templates, STRIDES).points
        errors.append(float((found - truth[good]).norm(dim=2).mean()))
    assert spearmanr(m.mean(axis=1), errors).statistic < -0.4


def test_of_two_templates_the_more_similar_one_decides_for_each_landmark() -> None:
    torch.manual_seed(1)
    features = [torch.randn(1, 6, 8, 8)]
    templates = [torch.randn(2, 5, 6)]  # two shots, five landmarks
    alone = [find_points(features, [t[s : s + 1] for t in templates], [4]) for s in range(2)]
    points, scores, _ = find_points(features, templates, [4])
    winner = torch.stack([found.scores for found in alone]).argmax(dim=0)
    assert len(set(winner[0].tolist())) == 2, "each wins somewhere, or the case shows nothing"
    for k in range(5):
        torch.testing.assert_close(points[0, k], alone[winner[0, k]].points[0, k])
        assert scores[0, k] == max(found.scores[0, k] for found in alone)


def test_a_timm_model_gives_maps_at_its_strides() -> None:
    features = FrozenFeatures("resnet18")
    with torch.no_grad():
        maps = features(torch.randn(1, 1, 64, 64), 0)
    assert [64 // m.shape[-1] for m in maps] == features.strides == [32, 16, 8, 4, 2]
    with pytest.raises(ConfigError, match="timm has no model 'resnet17'"):
        FrozenFeatures("resnet17")


def test_what_cannot_be_selected_from_is_refused() -> None:
    data = LandmarkPhantoms(domains=["head"], n_train=4, image_size=64)
    with pytest.raises(ConfigError, match="needs --ckpt_path FILE of a matcher"):
        SCP().select(None, data, 1)
    with pytest.raises(ConfigError, match="expected 1 to 4, the images of head, got 5"):
        SCP(backbone="resnet18", size=64).select(None, data, 5)
    with pytest.raises(ConfigError, match="not both"):
        SCP(backbone="resnet18").select(torch.nn.Module(), data, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(("size", "seen"), [(None, (64, 64)), ([96, 64], (96, 64))])
def test_a_matcher_compares_images_of_the_size_that_the_data_have(
    size: list[int] | None, seen: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A matcher that was trained with --data.size is asked at that size, not at its own option's."""
    names = {"head": list(ANATOMIES["head"].landmarks)}
    options: dict[str, Any] = {"match_size": 64, "vgg_widths": (4,) * 5, "vgg_depths": (1,) * 5, "vgg_weights": None}
    model = CC2D(domains=names, decoder_widths=(4,) * 4, embedding=4, **options)
    sizes = []

    def alike(self: SCP, embedder: Embedder, images: UnlabelledImages, domain: int) -> np.ndarray[Any, Any]:
        sizes.append(images.geometry.size)
        return np.eye(len(images))

    monkeypatch.setattr(SCP, "similarity", alike)
    SCP().select(model, LandmarkPhantoms(domains=["head"], n_train=3, image_size=32, size=size), 1)
    assert sizes == [seen]
    with pytest.raises(ConfigError, match=r"--data.size: expected multiples of 32, got \[90, 64\]"):
        SCP().select(model, LandmarkPhantoms(domains=["head"], n_train=3, image_size=32, size=[90, 64]), 1)


# Command line

TINY = {
    "model.match_size": "64",
    "model.patch": "64",
    "model.points": "4",
    "model.vgg_widths": "[4,4,4,4,4]",
    "model.vgg_depths": "[1,1,1,1,1]",
    "model.decoder_widths": "[4,4,4,4]",
    "model.embedding": "4",
    "model.match_batch": "4",
    "data.domains": "[head,chest]",
    "data.n_train": "6",
    "data.n_test": "2",
    "data.image_size": "64",
}


def fit(*more: str) -> int:
    flags = [part for key, value in TINY.items() for part in (f"--{key}", value)]
    stage = ["--model", "uod", "--model.stage", "stage1", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
    return main(["fit", *stage, *flags, "--quiet", "--run_dir", "matcher", *more])


def test_a_matcher_trained_without_any_label_chooses_and_its_choice_is_trained_on(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit("--data.shots", "0") == 0
    last = "matcher/checkpoints/last.ckpt"
    capsys.readouterr()
    assert main(["select", "scp", "--ckpt_path", last, "--budget", "2", "--selector.keypoints", "grid"]) == 0
    printed = capsys.readouterr().out
    folder = workdir / "runs/scp/landmark-phantoms/0"
    rows = list(csv.DictReader((folder / "selection.csv").open()))
    assert [(row["domain"], row["rank"]) for row in rows] == [(d, r) for d in ("head", "chest") for r in "12"]
    about = json.loads((folder / "selection.json").read_text())
    assert (about["selector"], about["data"], about["checkpoint"]) == ("scp", "landmark-phantoms", last)
    assert [choice["id"] for choice in about["choices"]] == [row["id"] for row in rows]
    heads = [row["id"] for row in rows if row["domain"] == "head"]
    assert f"--data.shots [{','.join(heads)}]" in printed
    assert main(["predict", "--ckpt_path", last, "--quiet"]) == 2
    assert "trained with --data.shots 0" in capsys.readouterr().err


def test_a_folder_without_any_label_is_chosen_from_by_a_timm_model(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(5):
        image = (radiograph("head", seed, 64).image * 255).astype(np.uint8)
        Image.fromarray(image).save(workdir / f"case {seed}.png")
    options = ["--selector.backbone", "resnet18", "--selector.size", "64", "--data.resize", "pad", "--run_dir", "out"]
    with pytest.warns(UserWarning, match="resnet18 has random weights"):
        assert main(["select", "scp", "--budget", "5", "--data", "landmark-folder", "--data.root", ".", *options]) == 0
    rows = list(csv.DictReader((workdir / "out" / "selection.csv").open()))
    assert sorted(row["id"] for row in rows) == [f"case {seed}" for seed in range(5)]
    told = capsys.readouterr().out
    (advice,) = [line for line in told.splitlines() if "to train on them" in line]
    (shots,) = shlex.split(advice.partition("--data.shots ")[2])
    assert json.loads(shots) == [row["id"] for row in rows]
    assert all(Path(row["path"]).is_file() for row in rows)
    gains = [float(row["gain"]) for row in rows]
    assert gains == sorted(gains, reverse=True)
    assert float(rows[-1]["score"]) == pytest.approx(1, abs=1e-3), "all images together represent each"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "medzoo select needs a selector: scp"),
        (["spc", "--budget", "1"], "no selector named 'spc'; did you mean scp?"),
        (["scp"], "medzoo select needs --budget T"),
        (["scp", "--budget", "many"], "medzoo select needs --budget T"),
        (["scp", "--budget", "1"], "missing --data NAME"),
        (["scp", "--budget", "1", "--data", "landmark-phantoms", "--selector.no_such", "1"], "--selector.no_such"),
        (["scp", "--budget", "1", "--data", "landmark-phantoms", "--selector.search", "best"], "--selector.search"),
        (["scp", "--budget", "1", "--data", "landmark-phantoms"], "scp needs --ckpt_path FILE of a matcher"),
        (["scp", "--budget", "1", "--ckpt_path", "none.ckpt"], "none.ckpt"),
    ],
)
def test_a_wrong_selection_costs_one_line_and_leaves_nothing(
    workdir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    assert main(["select", *arguments]) == 2
    err = capsys.readouterr().err.strip()
    assert err.count("\n") == 0, err
    assert problem in err
    assert not (workdir / "runs").exists()


def test_the_card_is_complete_and_every_option_has_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    spec = find("selector", "scp")
    assert all(spec.card.get(key) for key in ("name", "task", "summary", "paper", "data"))
    assert len(spec.summary) <= 120
    texts = {p.arg_name for p in docstring_parser.parse(inspect.getdoc(SCP) or "").params if p.description}
    assert set(inspect.signature(SCP).parameters) <= texts
    assert main(["select", "scp", "--help"]) == 0
    page = capsys.readouterr().out
    assert all(f"--selector.{name}" in page for name in inspect.signature(SCP).parameters)
    assert main(["info", "scp"]) == 0
    assert "Which images to label" in capsys.readouterr().out
