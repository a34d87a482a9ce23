from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from medzoo.anomaly.data.categories import SupportQueryDataset
from medzoo.anomaly.data.textures import TexturePhantoms
from medzoo.anomaly.images.gaussian import PositionGaussians
from medzoo.anomaly.images.registration import Siamese, registration_loss
from medzoo.anomaly.images.versions import VERSIONS, augmented
from medzoo.anomaly.padim.module import PaDiM
from medzoo.anomaly.regad.module import RegAD
from medzoo.anomaly.regad.network import MODES, Registrar, SpatialTransformer, matrix, warped
from medzoo.core.backbones.features import EncoderFeatures, stacked
from medzoo.core.data.wants import Wants
from medzoo.core.errors import CheckpointError, ConfigError, TrainingError
from medzoo.core.io import read_json

SMALL = {"size": [32, 32], "widths": [8, 12, 16], "weights": "none", "smooth": 1.0}


@pytest.mark.parametrize("mode", MODES)
def test_an_untrained_transformer_changes_nothing(mode: str) -> None:
    x = torch.rand(2, 8, 14, 14)
    out, maps = SpatialTransformer(8, (14, 14), mode, hidden=16).eval()(x)
    assert torch.allclose(out, x, atol=1e-5)
    assert torch.allclose(maps, torch.eye(3).expand(2, 3, 3), atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_warping_back_undoes_warping_away_from_the_border(mode: str) -> None:
    torch.manual_seed(1)
    smooth = torch.nn.functional.interpolate(torch.rand(1, 2, 5, 5), (40, 40), mode="bicubic")
    identity = SpatialTransformer(2, (40, 40), mode, hidden=4).last.bias.detach()[None]
    maps = matrix(mode, identity + 0.12)
    back = warped(warped(smooth, maps), torch.linalg.inv(maps))
    inner = (slice(None), slice(None), slice(12, 28), slice(12, 28))
    assert (back[inner] - smooth[inner]).abs().max() < 0.02
    assert (warped(smooth, maps)[inner] - smooth[inner]).abs().max() > 0.02


def test_rotation_and_scale_leave_the_off_diagonal_unscaled() -> None:
    rows = matrix("rotation_scale", torch.tensor([[0.3, 2.0, 3.0]]))[0]
    expected = [[2 * math.cos(0.3), -math.sin(0.3), 0], [math.sin(0.3), 3 * math.cos(0.3), 0], [0, 0, 1]]
    assert torch.allclose(rows, torch.tensor(expected), atol=1e-6)


def test_features_come_back_to_the_frame_of_the_image() -> None:
    """With fixed maps at every stage, the returned features match those of a network without transformers."""
    torch.manual_seed(0)
    net = Registrar(EncoderFeatures("resnet18", (8, 12, 16)), "translation").eval()
    x = torch.nn.functional.interpolate(torch.rand(1, 3, 6, 6), (64, 64), mode="bicubic")
    plain = net.stages(x)
    net.transformers[0].last.bias.data = torch.tensor([0.25, 0.0])  # two pixels of the 16 × 16 map
    _, found = net(x)
    inner = (slice(None), slice(None), slice(4, 12), slice(4, 12))
    assert torch.allclose(found[0][inner], plain[0][inner], atol=1e-4)
    shifted = net.transformers[0](plain[0])[0]
    assert not torch.allclose(shifted[inner], plain[0][inner], atol=1e-2)


def test_the_gradient_stops_at_the_encoded_side_and_reaches_the_predicted_one() -> None:
    parts = [torch.rand(2, 4, 3, 3, requires_grad=True) for _ in range(4)]
    registration_loss(*parts).backward()
    zq, pq, zs, ps = parts
    assert zq.grad is None
    assert zs.grad is None
    assert pq.grad is not None
    assert ps.grad is not None
    assert registration_loss(zq, zs, zs, zq).item() == pytest.approx(-1)


def test_convolutions_have_no_biases_as_in_the_public_code() -> None:
    net = RegAD(**SMALL)
    convolutions = [part for part in net.modules() if isinstance(part, torch.nn.Conv2d)]
    assert len(convolutions) == 21  # 10 of stem and blocks with side ways, 2 a transformer, 5 of the head
    assert all(part.bias is None for part in convolutions)


def test_it_asks_for_the_epochs_that_its_option_says() -> None:
    assert RegAD(**SMALL, epochs=7).max_epochs == 7


def test_the_head_keeps_positions_apart() -> None:
    head = Siamese(6).eval()
    x = torch.rand(1, 6, 5, 5)
    moved = x.clone()
    moved[..., 2, 2] += 1
    change = (head(x, x)[1] - head(moved, x)[1]).abs().sum(1)[0]
    assert change[2, 2] > 0
    change[2, 2] = 0
    assert change.max() == 0


def test_a_support_image_gives_22_versions() -> None:
    images = torch.rand(3, 3, 32, 32)
    versions = augmented(images)
    assert len(versions) == 3 * VERSIONS == 66
    assert torch.equal(versions[:3], images)
    grey = versions[18 * 3 : 19 * 3]
    luma = 0.299 * images[:, 0] + 0.587 * images[:, 1] + 0.114 * images[:, 2]
    assert all(torch.allclose(grey[:, channel], luma) for channel in range(3))
    assert torch.equal(versions[19 * 3 : 20 * 3], images.rot90(1, (-2, -1)))
    assert augmented(torch.rand(1, 3, 24, 32)).shape == (22, 3, 24, 32)


def direct(features: Tensor, queries: Tensor, ridge: float) -> Tensor:
    """Means, full covariances and their inverses, position by position."""
    _, channels, height, width = features.shape
    out = torch.zeros(len(queries), height, width, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            known = features[:, :, y, x].double()
            covariance = torch.cov(known.T) + ridge * torch.eye(channels)
            assert torch.linalg.eigvalsh(covariance).min() >= ridge * 0.999
            offset = queries[:, :, y, x].double() - known.mean(0)
            out[:, y, x] = (offset @ torch.linalg.inv(covariance) * offset).sum(1).sqrt()
    return out


def test_distance_equals_mahalanobis_with_the_full_covariance() -> None:
    torch.manual_seed(2)
    features, queries = torch.rand(7, 20, 3, 4), torch.rand(5, 20, 3, 4)
    found = PositionGaussians.fit(features, 0.01).distance(queries)
    assert torch.allclose(found.double(), direct(features, queries, 0.01), rtol=1e-4)


def test_order_of_supports_does_not_matter_and_bad_features_are_told() -> None:
    features, queries = torch.rand(6, 9, 2, 2), torch.rand(3, 9, 2, 2)
    one = PositionGaussians.fit(features).distance(queries)
    assert torch.allclose(one, PositionGaussians.fit(features.flip(0)).distance(queries), rtol=1e-4)
    with pytest.raises(ValueError, match="two"):
        PositionGaussians.fit(features[:1])
    with pytest.raises(TrainingError, match="lr"):
        PositionGaussians.fit(features * torch.inf)


def test_untrained_it_is_full_covariance_padim_with_22_versions() -> None:
    torch.manual_seed(0)
    net = RegAD(**SMALL).eval()
    supports, queries = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        known, asked = (stacked(net.registrar.stages(x)) for x in (augmented(supports), queries))
    found, _ = net.coarse_scores(net.reference(supports), queries)
    assert torch.allclose(found.double(), direct(known, asked, 0.01), rtol=1e-3)


def test_a_turned_object_is_less_of_a_surprise_than_to_padim() -> None:
    """Turned by π/8, one of the 22 versions, a normal image keeps its score better than without the versions."""
    changes = []
    for kind, options in ((RegAD, {}), (PaDiM, {"channels": 0})):
        torch.manual_seed(0)
        net = kind(**{**SMALL, "size": [64, 64]}, **options).eval()
        for name in ("pill", "screw"):
            data = TexturePhantoms(train=6, test=4, pixels=64, size=64, test_categories=[name])
            normal = [torch.from_numpy(item.load()) for item in data.tested[0].test if not item.label]
            queries = torch.stack(normal)
            turn = matrix("rotation", torch.full((len(queries), 1), math.pi / 8))
            with torch.no_grad():
                reference = net.reference(data.supports()[name].float())
                straight, turned = (net.score(reference, x)[0] for x in (queries, warped(queries, turn)))
            changes.append(((turned - straight).abs() / straight).mean().item())
    assert changes[0] < 0.7 * changes[2]
    assert changes[1] < 0.4 * changes[3]  # without turned versions of the support it is 0.7


def test_supports_are_averaged_before_the_encoder() -> None:
    net = RegAD(**SMALL)
    seen = []
    net.siamese.register_forward_pre_hook(lambda _, inputs: seen.append([part.shape for part in inputs]))
    net.log = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    net.training_step({"image": torch.rand(4, 3, 32, 32), "support": torch.rand(4, 3, 3, 32, 32)}, 0)
    assert seen == [[(4, 16, 2, 2), (4, 16, 2, 2)]]


def test_pairs_are_of_one_category_never_of_a_tested_one_and_never_with_itself() -> None:
    data = TexturePhantoms(train=4, test=2, pixels=32, test_categories=["gear"])
    queries = SupportQueryDataset(data.others, 3, (32, 32), seed=0)
    assert "gear" not in {category.name for category in data.others}
    for index in range(0, len(queries), 5):
        sample = queries[(index, 1)]
        assert all(not torch.equal(sample["image"], other) for other in sample["support"])
        again = queries[(index, 1)]
        assert torch.equal(sample["support"], again["support"])


def test_a_training_batch_is_of_one_category(monkeypatch: pytest.MonkeyPatch) -> None:
    data = TexturePhantoms(train=5, test=2, pixels=32, size=32, test_categories=["gear"], batch_size=3)
    monkeypatch.setattr(TexturePhantoms, "wants", Wants())
    batches = [batch["domain"].tolist() for batch in data.train_dataloader()]
    assert all(len(set(domains)) == 1 for domains in batches)
    assert sorted(domain for batch in batches for domain in batch) == [domain for domain in range(9) for _ in range(5)]


def test_wrong_options_are_refused_in_one_line() -> None:
    for wrong, text in (({"mode": "spin"}, "mode"), ({"backbone": "vit_tiny"}, "backbone"), ({"size": [8]}, "size")):
        with pytest.raises(ConfigError, match=text):
            RegAD(**{**SMALL, **wrong})
    with pytest.raises(CheckpointError, match="no such file"):
        RegAD(size=[32, 32], weights="/nowhere/net.pth").registrar(torch.rand(1, 3, 32, 32))
    with pytest.raises(ConfigError, match=r"score.*p95"):
        RegAD(**SMALL, score="p99")


def fitted(folder: Path, test: int) -> Path:
    """Fit for one epoch through the command line."""
    from medzoo.core.cli import main

    main(
        f"fit --model regad --data.train 5 --data.test {test} --data.pixels 32 --data.shots 3 --model.size [32,32] "
        "--model.widths [8,12,16] --model.epochs 1 --data.test_categories [gear,pill] --trainer.accelerator cpu "
        f"--run_dir {folder}".split()
    )
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(tmp_path_factory.mktemp("regad") / "run", test=6)


def test_a_fit_scores_unseen_categories_and_keeps_supports_and_thresholds(trained: Path) -> None:
    metrics = read_json(trained / "results.json")["metrics"]
    assert {"gear/image_auroc", "pill/aupro", "mean/pixel_auroc"} <= set(metrics)
    saved = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["supports"]["gear"].shape == (3, 3, 32, 32)
    assert all(value > 0 for value in saved["thresholds"].values())
    assert {p.name for p in (trained / "figures").iterdir()} == {"gear.png", "pill.png"}


def test_the_tested_images_leave_no_trace_in_the_checkpoint(trained: Path, workdir: Path) -> None:
    runs = (trained, fitted(workdir / "other", test=2))
    one, other = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in runs)
    assert one["thresholds"] == other["thresholds"]
    assert all(torch.equal(value, other["supports"][name]) for name, value in one["supports"].items())
    assert all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())


def test_a_new_category_needs_no_training_and_a_known_one_keeps_its_support(trained: Path, workdir: Path) -> None:
    from medzoo.core.cli import main

    checkpoint = trained / "checkpoints" / "last.ckpt"
    common = f"--ckpt_path {checkpoint} --data.train 5 --data.test 4 --data.pixels 32 --trainer.accelerator cpu"
    main(f"predict {common} --data.test_categories [screw] --run_dir new".split())
    assert len(read_json(workdir / "new" / "predictions.json")["predictions"]) == 4
    main(f"predict {common} --data.test_categories [gear] --data.support_draw 3 --run_dir known".split())
    records = read_json(workdir / "known" / "predictions.json")["predictions"]
    assert len(records) == 4
    assert all(Path(record["map"]).is_file() for record in records)
    saved = torch.load(checkpoint, weights_only=True)["thresholds"]["gear"]
    assert records[0]["threshold"] == pytest.approx(saved)  # of the support in the checkpoint, not of draw 3


def test_a_category_that_was_learnt_from_is_not_tested(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from medzoo.core.cli import main

    checkpoint = trained / "checkpoints" / "last.ckpt"
    common = f"test --ckpt_path {checkpoint} --data.train 5 --data.test 4 --data.pixels 32 --trainer.accelerator cpu"
    assert main(f"{common} --data.test_categories [screw] --run_dir {trained.parent / 'no'}".split()) == 2
    assert "the model was trained on screw" in capsys.readouterr().err


def test_real_radiographs_are_ranked_by_a_model_that_never_saw_any(
    trained: Path, workdir: Path, shared_data: Path
) -> None:
    from medzoo.core.cli import main

    source = shared_data / "pneumonia28" / "pneumonia28.npz"
    arguments = f"test --ckpt_path {trained / 'checkpoints' / 'last.ckpt'} --data npz-images --data.root {source}"
    assert not main([*arguments.split(), *["--data.part", "val", "--data.shots", "4", "--run_dir", "out"]])
    metrics = read_json(workdir / "out" / "results.json")["metrics"]
    assert metrics["pneumonia28/image_auroc_low"] < metrics["pneumonia28/image_auroc"]
    assert metrics["pneumonia28/prevalence"] == pytest.approx(389 / 524, abs=1e-4)
