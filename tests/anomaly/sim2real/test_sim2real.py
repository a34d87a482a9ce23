"""Sim2Real: network, losses, pseudo-labels, and what a training step learns from."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from medzoo.anomaly.data.ct_phantom import CtPhantoms
from medzoo.anomaly.data.nifti import NiftiVolumes
from medzoo.anomaly.data.volumes import PatchDataset
from medzoo.anomaly.sim2real.adapt import follow, large_regions, pseudo_labels
from medzoo.anomaly.sim2real.inference import segment, stretched
from medzoo.anomaly.sim2real.losses import decomposition_loss, dice_loss, layer_loss
from medzoo.anomaly.sim2real.module import Sim2Real
from medzoo.anomaly.sim2real.network import LayerUNet, composite
from medzoo.core.cli import main
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.phantoms.ct import lung_ct

TINY = {"width": 2, "levels": 2, "patch": [16, 16, 16]}
STEP = [[2.0, 2.0, 2.0]]


def test_the_network_has_the_size_of_the_public_code() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in LayerUNet().parameters()) == 19_073_795


@pytest.mark.parametrize(("norm", "same"), [("instance", True), ("batch", False)])
def test_answers_depend_on_the_rest_of_the_batch_with_its_statistics_alone(norm: str, same: bool) -> None:
    torch.manual_seed(0)
    net = LayerUNet(2, 2, norm).eval()
    pair = torch.rand(2, 1, 8, 8, 8) * torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1, 1)
    with torch.no_grad():
        assert torch.allclose(net(pair)[:1], net(pair[:1]), atol=1e-5) is same


def test_layers_make_up_the_volume_where_they_are_sure() -> None:
    layers = torch.zeros(1, 3, 2, 2, 2)
    layers[:, 0], layers[:, 1], layers[:, 2, 0], layers[:, 2, 1] = 0.2, 0.7, 50, -50
    assert torch.allclose(composite(layers)[0, 0], torch.tensor(0.7))
    assert torch.allclose(composite(layers)[0, 1], torch.tensor(0.2))


def test_an_empty_or_full_mask_leaves_out_the_terms_of_the_inside() -> None:
    made, layer = torch.rand(4, 4, 4), torch.rand(4, 4, 4)
    mask = torch.zeros(4, 4, 4, dtype=torch.bool)
    whole = (made - layer).abs().mean()
    assert layer_loss(made, layer, mask) == layer_loss(made, layer, ~mask) == whole
    mask[1:3] = True
    assert layer_loss(made, layer, mask).item() == pytest.approx((whole + (made - layer)[mask].abs().mean()).item())
    logits = torch.randn(4, 4, 4, requires_grad=True)
    loss = decomposition_loss((made, made, logits), layer, layer, torch.zeros_like(mask))
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_dice_by_hand_and_over_what_counts_alone() -> None:
    logits, mask = torch.tensor([0.0, 0.0, 40.0]), torch.tensor([True, False, True])
    assert dice_loss(logits, mask).item() == pytest.approx(1 - 2 * 1.5 / (2 + 2))
    counted = torch.tensor([False, False, True])
    assert dice_loss(logits, mask, counted).item() == pytest.approx(0, abs=1e-6)
    logits.requires_grad_()
    dice_loss(logits, mask, counted).backward()
    assert logits.grad is not None
    assert not logits.grad[:2].any()


class Teacher(torch.nn.Module):
    """Sees a probability in the image itself."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, x + 1, torch.logit(x, 1e-6)], dim=1)


def test_a_teacher_labels_what_it_is_sure_of_and_no_speck() -> None:
    image = torch.full((1, 8, 8, 8), 0.05)
    image[0, 1:4, 1:4, 1:4] = 0.97  # 27 voxels of 8 mm³
    image[0, 6, 6, 6] = 0.99  # a speck
    image[0, 6, 1, 1] = 0.3
    found = pseudo_labels(Teacher(), image, sure=0.9, smallest=100.0, spacing=STEP)
    assert found.mask.sum() == 27
    assert torch.equal(found.tumour != 0, found.mask)
    assert torch.equal(found.normal, image)
    assert not found.sure[0, 6, 6, 6]
    assert not found.sure[0, 6, 1, 1]
    assert found.sure.sum() == 512 - 2


def test_regions_below_a_size_go_and_others_stay() -> None:
    mask = torch.zeros(6, 6, 6, dtype=torch.bool)
    mask[:2, :2, :2], mask[5, 5, 5] = True, True
    assert large_regions(mask, 2).sum() == 8
    assert large_regions(mask, 1).sum() == 9
    assert not large_regions(mask, 9).any()
    assert not large_regions(torch.zeros_like(mask), 1).any()


def test_a_teacher_follows_quickly_at_first_and_slowly_later() -> None:
    teacher, student = (torch.nn.Linear(1, 1, bias=False) for _ in range(2))
    with torch.no_grad():
        teacher.weight.fill_(0)
        student.weight.fill_(1)
    follow(teacher, student, 0.99, step=0)
    assert teacher.weight.item() == pytest.approx(0.9)
    follow(teacher, student, 0.99, step=10**6)
    assert teacher.weight.item() == pytest.approx(0.901)


def test_volumes_are_stretched_by_a_window_or_by_the_organ_itself() -> None:
    volume, organ = torch.tensor([[[-2000.0, -400.0, 500.0, 100.0]]]), torch.tensor([[[True, True, True, False]]])
    assert stretched(volume, organ, [-1000, 200]).tolist() == [[[0, 0.5, 1, 0]]]
    own = stretched(torch.arange(1000.0).reshape(10, 10, 10), torch.ones(10, 10, 10, dtype=torch.bool), None)
    assert own.min() == 0
    assert own.max() == 1
    assert own.flatten()[497].item() == pytest.approx(497 / 994)


def step(net: Sim2Real, *, real: bool = True) -> set[str]:
    """Take a step and return what was logged."""
    logged: set[str] = set()
    net.log = lambda name, _, **__: logged.add(name)  # type: ignore[method-assign, assignment]
    torch.manual_seed(1)
    organ = torch.ones(2, 1, 16, 16, 16, dtype=torch.bool)
    hu, spacing = torch.full(organ.shape, -850.0) + 40 * torch.randn(organ.shape), torch.full((2, 3), 3.0)
    batch = {"image": hu, "organ": organ, "spacing": spacing}
    if real:
        batch |= {"real": hu + 100, "real_organ": organ, "real_spacing": spacing}
    net.training_step(batch, 0).backward()
    return logged


def test_unlabelled_volumes_are_learnt_from_after_the_first_part_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = Sim2Real(**TINY, epochs=2, adapt_epochs=1)
    monkeypatch.setattr(Sim2Real, "current_epoch", 1)
    assert step(net) == {"train/loss", "train/simulated", "train/composite"}
    monkeypatch.setattr(Sim2Real, "current_epoch", 2)
    assert step(net) == {"train/loss", "train/simulated", "train/composite", "train/adapted"}
    assert all(parameter.grad is None for parameter in net.teacher.parameters())
    assert all(parameter.grad is not None for parameter in net.net.parameters())
    assert net.max_epochs == 3


def test_without_unlabelled_volumes_adapting_is_refused_and_simulation_alone_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Sim2Real, "current_epoch", 0)
    with pytest.raises(ConfigError, match=r"--model\.adapt_epochs 0"):
        step(Sim2Real(**TINY), real=False)
    assert "train/composite" in step(Sim2Real(**TINY, adapt_epochs=0), real=False)


def test_unlabelled_patients_are_others_and_their_patches_carry_no_mask() -> None:
    data = CtPhantoms(train=2, val=1, test=5, unlabelled=5, size=[24, 28, 36])
    cases = data.cases
    groups = [{case.id for case in part} for part in (cases.train, cases.val, cases.test, cases.unlabelled)]
    assert len(set.union(*groups)) == 13
    assert {case.kind for case in cases.unlabelled} == {case.kind for case in cases.test}
    patches = PatchDataset(cases.train, (16, 16, 16), 2, None, 0, 100, cases.unlabelled)
    sample = patches[(1, 4)]
    assert set(sample) == {"image", "organ", "spacing", "real", "real_organ", "real_spacing", "id", "path"}
    plain = PatchDataset(cases.train, (16, 16, 16), 2, None, 0, 100)[(1, 4)]
    assert all(torch.equal(sample[key], plain[key]) for key in ("image", "organ"))  # type: ignore[arg-type]
    assert not torch.equal(sample["real"], patches[(1, 5)]["real"])  # type: ignore[arg-type]


def test_a_mask_lies_in_the_organ_and_shrinks_with_the_threshold() -> None:
    torch.manual_seed(0)
    net = LayerUNet(2, 2)
    volume, organ = torch.randn(20, 20, 20) * 300 - 700, torch.zeros(20, 20, 20, dtype=torch.bool)
    organ[3:17, 3:17, 3:17] = True
    sizes = []
    for threshold in (0.03, 0.05, 0.08):  # about where an untrained mask lies
        score, mask = segment(
            net, volume, organ, (2, 2, 2), window=[-1000, 200], patch=[16, 16, 16], overlap=0.5, windows=1,
            threshold=threshold, smallest=0,
        )  # fmt: skip
        assert not mask[~organ].any()
        assert not score[~organ].any()
        assert (score[mask] > threshold).all()
        sizes.append(int(mask.sum()))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]


@pytest.mark.parametrize(
    ("option", "value"),
    [("patch", [16, 16, 17]), ("window", [200.0, -1000.0]), ("contrast", [3.0, 1.0]), ("blend", [0.2, 1.2]),
     ("healthy", 1.0), ("sure", 0.4), ("threshold", 1.0), ("norm", "layer"), ("width", 0), ("volume_mm3", [0.0, 5.0])],
)  # fmt: skip
def test_impossible_settings_are_refused(option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"--model.{option}"):
        Sim2Real(**{**TINY, option: value})  # type: ignore[arg-type]


def test_a_fit_on_data_without_unlabelled_volumes_says_what_to_do(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = "--data.train 2 --data.val 0 --data.test 1 --data.size [16,20,24] --data.unlabelled 0"
    tiny = "--model.width 2 --model.levels 2 --model.patch [8,8,8] --trainer.accelerator cpu --quiet --run_dir run"
    assert main(f"fit --model sim2real {small} {tiny}".split()) == 2
    assert "--data.unlabelled N" in capsys.readouterr().err


def test_a_folder_of_unlabelled_volumes_is_adapted_to_and_shares_no_name(workdir: Path) -> None:
    for number, (folder, name) in enumerate(
        (("healthy", "h1"), ("healthy", "h2"), ("image", "t"), ("unlabelled", "u"))
    ):
        made = lung_ct(number, (20, 24, 28))
        (workdir / "ct" / folder).mkdir(parents=True, exist_ok=True)
        (workdir / "ct" / "organ").mkdir(exist_ok=True)
        grid = np.diag([*made.spacing, 1.0])
        nibabel.save(
            nibabel.Nifti1Image(made.image.astype(np.int16).T, grid), workdir / "ct" / folder / f"{name}.nii.gz"
        )
        organ = nibabel.Nifti1Image(made.lungs.astype(np.uint8).T, grid)
        nibabel.save(organ, workdir / "ct" / "organ" / f"{name}.nii.gz")
    data = NiftiVolumes("ct", val=0)
    assert [case.id for case in data.cases.unlabelled] == ["u"]
    assert [case.id for case in data.cases.train] == ["h1", "h2"]
    assert not data.check()
    sample = PatchDataset(data.cases.train, (8, 8, 8), 1, None, 0, 100, data.cases.unlabelled)[(0, 0)]
    assert sample["real_organ"].any()  # type: ignore[attr-defined]
    (workdir / "ct" / "unlabelled" / "u.nii.gz").rename(workdir / "ct" / "unlabelled" / "t.nii.gz")
    (workdir / "ct" / "organ" / "u.nii.gz").unlink()
    with pytest.raises(DataError, match="has the name of"):
        _ = NiftiVolumes("ct", val=0).cases
