from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from medzoo.anomaly.careg.module import CAReg
from medzoo.anomaly.images.coreset import coreset
from medzoo.anomaly.images.gaussian import PositionGaussians
from medzoo.anomaly.images.patches import Coreset, memory_scores
from medzoo.anomaly.images.registration import Siamese
from medzoo.anomaly.images.versions import VERSIONS, augmented
from medzoo.anomaly.patchcore.module import PatchCore
from medzoo.core.backbones.features import stacked
from medzoo.core.errors import ConfigError
from medzoo.core.io import read_json

SMALL = {"size": [32, 32], "widths": [8, 12, 16], "weights": "none", "smooth": 1.0}
CAREG = SMALL | {"inside": 8, "backbone": "resnet18"}


def test_the_head_has_the_size_of_the_public_code() -> None:
    head = Siamese(1024, 256)
    sizes = [sum(p.numel() for p in part.parameters()) for part in (head.encoder, head.predictor)]
    assert sizes == [394_240, 131_584]


def test_untrained_it_is_patchcore_with_22_versions_and_without_centring() -> None:
    torch.manual_seed(0)
    net = CAReg(**CAREG, share=0.3).eval()
    twin = PatchCore(**SMALL, backbone="resnet18", share=0.3).eval()
    twin.net.load_state_dict(net.backbone.state_dict())
    twin.mean.zero_()
    twin.spread.fill_(1)
    supports, queries = torch.rand(2, 3, 32, 32), torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        found = net.score(net.reference(supports), queries)
        expected = twin.score(twin.reference(augmented(supports)), queries)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, expected, strict=True))
    assert not torch.allclose(found[0], twin.score(twin.reference(supports), queries)[0], atol=1e-3)


def test_the_head_of_gaussians_is_full_covariance_padim_with_22_versions() -> None:
    torch.manual_seed(0)
    net = CAReg(**CAREG, head="gaussian").eval()
    supports, queries = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        known, asked = (stacked(net.backbone(x)) for x in (augmented(supports), queries))
        maps, whole = net.coarse_scores(net.reference(supports), queries)
    assert whole is None
    assert maps.shape == (2, 8, 8)
    assert torch.allclose(maps, PositionGaussians.fit(known).distance(asked), rtol=1e-5)


def test_the_memory_holds_its_share_of_all_patches_of_all_versions() -> None:
    net = CAReg(**CAREG, share=0.1).eval()
    kept = net.reference(torch.rand(3, 3, 32, 32))
    assert isinstance(kept, Coreset)
    assert len(kept.patches) == int(0.1 * 3 * VERSIONS * 16)


def test_the_coreset_covers_better_with_every_point() -> None:
    points = torch.rand(60, 4, generator=torch.Generator().manual_seed(0))
    order = coreset(points, 20)
    radii = [float(torch.cdist(points, points[order[: k + 1]]).amin(1).max()) for k in range(20)]
    assert all(later <= earlier + 1e-6 for earlier, later in pairwise(radii))
    assert radii[-1] < 0.7 * radii[0]


def test_distances_are_euclidean_and_weights_finite_however_far() -> None:
    bank = torch.tensor([[0.0, 0.0], [0.0, 1.0], [8.0, 0.0]])
    asked = torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1)
    maps, score = memory_scores(bank, asked, nearest=1)
    assert maps.item() == pytest.approx(18**0.5, rel=1e-5)  # of (0, 1), not 18
    assert score.item() == pytest.approx(maps.item())
    for far in (1e2, 1e4):
        assert torch.isfinite(memory_scores(bank, torch.full((2, 2, 2, 2), far), nearest=3)[1]).all()


def test_supports_are_averaged_before_the_encoder() -> None:
    net = CAReg(**CAREG)
    seen = []
    net.siamese.register_forward_pre_hook(lambda _, inputs: seen.append([part.shape for part in inputs]))
    net.log = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    net.training_step({"image": torch.rand(4, 3, 32, 32), "support": torch.rand(4, 3, 3, 32, 32)}, 0).backward()
    assert seen == [[(4, 16, 2, 2), (4, 16, 2, 2)]]
    assert all(p.grad is not None for p in net.parameters())  # end to end


def test_it_asks_for_its_epochs_and_supports() -> None:
    net = CAReg(**CAREG, epochs=7, train_shots=2)
    assert net.max_epochs == 7
    assert net.wants().supports == 2


def test_wrong_options_are_refused_in_one_line() -> None:
    for wrong, text in (({"head": "tree"}, "head.*gaussian"), ({"share": 0.0}, "share"), ({"inside": 0}, "inside")):
        with pytest.raises(ConfigError, match=text):
            CAReg(**{**CAREG, **wrong})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from medzoo.core.cli import main

    folder = tmp_path_factory.mktemp("careg") / "run"
    main(
        "fit --model careg --data.train 5 --data.test 6 --data.pixels 32 --data.shots 3 --model.size [32,32] "
        "--model.widths [8,12,16] --model.inside 8 --model.epochs 2 --data.test_categories [gear,pill] "
        f"--trainer.accelerator cpu --run_dir {folder}".split()
    )
    return folder


def test_a_fit_trains_all_its_epochs_and_notes_what_it_learnt_from(trained: Path) -> None:
    saved = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["epoch"] == 1  # counted from 0
    assert "gear" not in saved["learnt"]
    assert "screw" in saved["learnt"]
    assert "gear/image_auroc" in read_json(trained / "results.json")["metrics"]


def test_a_category_that_was_learnt_from_is_not_tested(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from medzoo.core.cli import main

    checkpoint = trained / "checkpoints" / "last.ckpt"
    common = f"test --ckpt_path {checkpoint} --data.train 5 --data.test 4 --data.pixels 32 --trainer.accelerator cpu"
    assert main(f"{common} --data.test_categories [screw] --run_dir {trained.parent / 'no'}".split()) == 2
    assert "the model was trained on screw" in capsys.readouterr().err


def test_nothing_that_is_not_finite_is_passed_over(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from medzoo.core.cli import main

    checkpoint = trained / "checkpoints" / "last.ckpt"
    saved = torch.load(checkpoint, weights_only=True)
    name = next(n for n in saved["state_dict"] if n.startswith("backbone") and n.endswith("weight"))
    saved["state_dict"][name] *= torch.inf
    broken = trained.parent / "broken.ckpt"
    torch.save(saved, broken)
    common = f"test --ckpt_path {broken} --data.train 5 --data.test 4 --data.pixels 32 --trainer.accelerator cpu"
    assert main(f"{common} --run_dir {trained.parent / 'nan'}".split()) == 2
    assert "finite" in capsys.readouterr().err
