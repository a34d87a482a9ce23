"""ESAD: losses and where their gradients go, labelled images and where they come from, what labels are good for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medzoo.anomaly.data.items import Category, Item
from medzoo.anomaly.data.known import known_abnormal, without
from medzoo.anomaly.data.textures import TexturePhantoms
from medzoo.anomaly.esad.evaluation import KindEvaluation
from medzoo.anomaly.esad.losses import SPOILS, agreement, entropy, noisy, restoration, shuffled
from medzoo.anomaly.esad.module import ESAD
from medzoo.anomaly.esad.network import TwinEncoder, lengths
from medzoo.core.data.wants import Wants
from medzoo.core.errors import ConfigError
from medzoo.core.metrics.anomaly import auroc
from medzoo.core.tasks.anomaly import AnomalyOutputs

NONE, ONE = torch.zeros(4, dtype=torch.bool), torch.tensor([False, False, False, True])


def net(tied: bool = False) -> TwinEncoder:
    torch.manual_seed(0)
    return TwinEncoder((16, 16), width=2, latent=4, tied=tied)


def weights(module: torch.nn.Module) -> list[torch.nn.Parameter]:
    return list(module.parameters())


def test_encoders_have_weights_of_their_own_unless_tied_and_no_bias() -> None:
    apart, tied = net(), net(tied=True)
    assert not {id(p) for p in weights(apart.first)} & {id(p) for p in weights(apart.second)}
    assert sum(p.numel() for p in weights(apart.first)) == sum(p.numel() for p in weights(apart.second))
    gone = sum(p.numel() for p in apart.parameters()) - sum(p.numel() for p in tied.parameters())
    assert gone == sum(p.numel() for p in weights(apart.second))
    assert not [
        name for name, _ in (*apart.first.named_parameters(), *apart.second.named_parameters()) if "bias" in name
    ]
    codes = apart(torch.rand(3, 3, 16, 16))
    assert codes.first.shape == codes.second.shape == (3, 4)
    assert 0 <= codes.made.min() <= codes.made.max() <= 1


def test_the_length_of_codes_reaches_the_first_encoder_through_the_made_image_alone() -> None:
    model = net()
    images = torch.rand(4, 3, 16, 16)
    entropy(model(images).second, NONE).mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in weights(model.first))
    model.zero_grad()
    entropy(model.second(model.decoder(model.first(images)).detach()), NONE).mean().backward()
    assert all(p.grad is None for p in (*weights(model.first), *weights(model.decoder)))


def test_agreement_reaches_both_encoders() -> None:
    model = net()
    codes = model(torch.rand(4, 3, 16, 16))
    agreement(codes.first, codes.second).mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in (*weights(model.first), *weights(model.second)))


def test_codes_of_normal_images_are_shortened_and_of_abnormal_ones_lengthened() -> None:
    codes = torch.randn(4, 8, requires_grad=True)
    entropy(codes, ONE).sum().backward()
    assert codes.grad is not None
    along = (codes.grad * codes).sum(1)
    assert (along[:3] > 0).all()  # a step against the gradient shortens them
    assert along[3] < 0
    nothing = torch.zeros(2, 8, requires_grad=True)
    entropy(nothing, torch.tensor([False, True])).sum().backward()
    assert nothing.grad is not None
    assert torch.isfinite(nothing.grad).all()


def test_losses_by_hand() -> None:
    assert entropy(torch.tensor([[3.0, 4.0], [3.0, 4.0]]), torch.tensor([False, True])).tolist() == pytest.approx(
        [5, 1 / 5.001]
    )
    assert agreement(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]])).tolist() == [2]
    assert restoration(torch.full((1, 3, 2, 2), 0.5), torch.zeros(1, 3, 2, 2)).tolist() == [0.25]


def test_what_is_spoilt_keeps_its_grey_values_or_their_mean_and_nothing_else() -> None:
    ramp = torch.linspace(0, 1, 32).expand(2, 3, 32, 32).clone()
    mixed = shuffled(ramp, torch.Generator().manual_seed(0))
    assert torch.equal(mixed.flatten(2).sort(-1).values, ramp.flatten(2).sort(-1).values)
    assert (mixed[..., 1:] - mixed[..., :-1]).abs().mean() > 5 * (ramp[..., 1:] - ramp[..., :-1]).abs().mean()
    noise = noisy(ramp, torch.Generator().manual_seed(0))
    assert noise.mean().item() == pytest.approx(0.5, abs=0.03)
    assert noise.min() >= 0
    assert noise.max() <= 1
    again = SPOILS["noise"](ramp, torch.Generator().manual_seed(0))
    assert torch.equal(noise, again)


def step(model: ESAD, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    model.log = model.log_dict = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    torch.manual_seed(3)
    return model.training_step(batch, 0)


def test_without_labels_and_weights_it_is_an_autoencoder() -> None:
    torch.manual_seed(0)
    model = ESAD(size=16, width=2, latent=4, norm_weight=0, agree_weight=0, mirror=False)
    image = torch.rand(4, 3, 16, 16)
    assert torch.allclose(step(model, {"image": image}), torch.nn.functional.mse_loss(model.net(image).made, image))


def test_the_target_of_a_labelled_image_is_the_spoilt_one_and_of_a_normal_one_itself() -> None:
    torch.manual_seed(0)
    batch = {"image": torch.rand(4, 3, 16, 16), "abnormal": torch.rand(4, 3, 16, 16)}
    weightless = {"size": 16, "width": 2, "latent": 4, "norm_weight": 0.0, "agree_weight": 0.0, "mirror": False}
    spoilt, plain = ESAD(**weightless), ESAD(**weightless, spoil="none")  # type: ignore[arg-type]
    plain.load_state_dict(spoilt.state_dict())
    images = torch.cat([batch["image"], batch["abnormal"]])
    made = plain.net(images).made
    assert torch.allclose(step(plain, batch), torch.nn.functional.mse_loss(made, images))
    assert not torch.allclose(step(spoilt, batch), step(plain, batch))


def blobs(count: int, kind: str, seed: int) -> torch.Tensor:
    """Return stripes, `(N, 3, 16, 16)`, with a bright blob, a dark one, or none."""
    generator = torch.Generator().manual_seed(seed)
    phase = torch.rand(count, 1, 1, generator=generator) * 6
    stripes = 0.5 + 0.2 * torch.sin(torch.arange(16.0)[None, None] + phase)
    images = stripes.expand(count, 16, 16) + 0.03 * torch.randn(count, 16, 16, generator=generator)
    if kind:
        at = torch.rand(count, 2, 1, 1, generator=generator) * 10 + 3
        y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
        spot = torch.exp(-((y - at[:, 0]) ** 2 + (x - at[:, 1]) ** 2) / 8)
        images = images + (0.14 if kind == "bright" else -0.14) * spot
    return images.clamp(0, 1)[:, None].expand(count, 3, 16, 16).contiguous()


def taught(spoil: str, labelled: bool = True) -> tuple[float, float]:
    """Train on stripes and a few bright blobs; return the AUROC on other bright blobs, and on dark ones."""
    torch.manual_seed(0)
    model = ESAD(size=16, width=6, latent=8, spoil=spoil)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    normal, ill = blobs(64, "", 1), blobs(12, "bright", 2)
    for number in range(120):
        torch.manual_seed(number)
        batch = {"image": normal[torch.randperm(64)[:16]]}
        if labelled:
            batch["abnormal"] = ill[torch.randint(12, (16,))]
        model.log = model.log_dict = lambda *_, **__: None  # type: ignore[method-assign, assignment]
        optimizer.zero_grad()
        model.training_step(batch, 0).backward()
        optimizer.step()
    model.eval()
    found = []
    for kind in ("bright", "dark"):
        images = torch.cat([blobs(60, "", 3), blobs(60, kind, 4)])
        with torch.no_grad():
            scores = model.joined(model.parts(images)[0], torch.zeros(2, 2))
        found.append(auroc(scores, torch.arange(120) >= 60))
    return found[0], found[1]


def test_labels_help_for_their_kind_and_losing_information_is_what_does_it() -> None:
    known, new = taught("shuffle")
    alone, _ = taught("shuffle", labelled=False)
    kept, _ = taught("none")
    assert known > 0.9
    assert known > alone + 0.05
    assert known > kept + 0.15
    assert new < known  # a kind that was never labelled is another matter


def item(name: str, kind: str = "", patient: str = "") -> Item:
    return Item(name, lambda: torch.zeros(3, 4, 4).numpy(), int(bool(kind)), kind=kind, patient=patient)


def test_labelled_images_and_their_patients_leave_the_test() -> None:
    test = (item("a", patient="p"), item("b"), *(item(f"s{i}", "scratch", "p" if i == 0 else "") for i in range(4)),
            item("d", "dent"))  # fmt: skip
    category = Category("part", (item("n"),), test)
    known = known_abnormal(category, 4, ["scratch"], (0,))
    assert {i.id for i in known} == {"s0", "s1", "s2", "s3"}
    assert {i.id for i in without(category, known).test} == {"b", "d"}
    assert [i.kind for i in known_abnormal(category, 1, None, (0,))] == ["dent"]  # the first kind by name
    few = known_abnormal(category, 2, ["scratch"], (1,))
    assert few == known_abnormal(category, 2, ["scratch"], (1,))
    assert known_abnormal(category, 0, None, (0,)) == ()
    with pytest.raises(ConfigError, match=r"part has 1 abnormal images of dent to test on, not 2"):
        known_abnormal(category, 2, ["dent"], (0,))


def test_a_batch_has_a_labelled_image_for_each_normal_one_if_the_method_wants_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = TexturePhantoms(
        train=10, test=16, pixels=32, size=32, shots=None, test_categories=["gear"], batch_size=4, known=2,
        known_kinds=["stain"],
    )  # fmt: skip
    known = data.known_items(data.tested[0])
    assert [i.kind for i in known] == ["stain", "stain"]
    assert not set(known) & set(data.tested[0].test)
    assert len(data.tested[0].test) == 14
    pictures = [torch.from_numpy(i.load()) for i in known]
    monkeypatch.setattr(TexturePhantoms, "wants", Wants(tested=True, labels=True))
    for batch in data.train_dataloader():
        assert batch["abnormal"].shape == batch["image"].shape
        for image in batch["abnormal"]:
            assert min((image - picture).abs().max() for picture in pictures) < 1e-3  # kept in 16 bits
    monkeypatch.setattr(TexturePhantoms, "wants", Wants(tested=True))
    assert all("abnormal" not in batch for batch in data.train_dataloader())


def test_kinds_that_were_labelled_and_new_ones_are_judged_apart() -> None:
    evaluation = KindEvaluation(["part", "other"], {"part": {"scratch"}})
    for name in ("part", "other"):
        batch = {
            "id": list("abcd"), "path": [""] * 4, "source": [name] * 4, "domain": torch.zeros(4), "patient": [""] * 4,
            "kind": ["", "", "scratch", "stain"], "label": torch.tensor([0, 0, 1, 1]), "image": torch.rand(4, 3, 8, 8),
            "original_size": torch.tensor([[8, 8]] * 4),
        }  # fmt: skip
        evaluation.update(batch, AnomalyOutputs(torch.tensor([0.1, 0.3, 0.9, 0.2]), torch.rand(4, 8, 8)))
    found = evaluation.compute()
    assert found["part/known_auroc"] == 1
    assert found["part/new_auroc"] == 0.5
    assert "other/known_auroc" not in found  # nothing of it was labelled
    assert found["other/new_auroc"] == 0.75
    assert "mean/known_auroc" not in found
    assert found["mean/new_auroc"] == pytest.approx(0.625)


@pytest.mark.parametrize("change", [{"spoil": "blur"}, {"norm_weight": -1.0}, {"agree_weight": -1.0}, {"size": 24}])
def test_impossible_settings_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"--model.{next(iter(change))}"):
        ESAD(**change)  # type: ignore[arg-type]


def test_more_labelled_images_than_there_are_is_one_line(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from medzoo.core.cli import main

    data = "--data.train 5 --data.test 8 --data.pixels 32 --data.known 5 --data.test_categories [gear]"
    assert main(f"fit --model esad {data} --model.size 32 --trainer.accelerator cpu --run_dir run".split()) == 2
    assert "--data.known: gear has" in capsys.readouterr().err


def test_lengths_have_a_finite_gradient_at_nothing() -> None:
    codes = torch.zeros(1, 3, requires_grad=True)
    lengths(codes).sum().backward()
    assert codes.grad is not None
    assert torch.isfinite(codes.grad).all()
