"""XCoOp: the contract of the house, and the signs of prompts that are learnt and stay near clinical words."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from medzoo.core.classifier.data.phantoms import ClassPhantoms
from medzoo.core.cli import main
from medzoo.core.errors import ConfigError
from medzoo.core.testing import ModelContract
from medzoo.core.testing.recipes import packaged, resolved
from medzoo.core.zoo import load_checkpoint
from medzoo.vlm.data.phantoms import ReportPhantoms
from medzoo.vlm.processor import Processor
from medzoo.vlm.xcoop.losses import prompt_alignment, token_alignment
from medzoo.vlm.xcoop.module import XCoOp

OPTIONS = {"size": 32, "width": 32, "batch": 8}
SIZES = {"train": 24, "val": 6, "test": 9, "pixels": 32}


class TestXCoOp(ModelContract):
    name: ClassVar[str] = "xcoop"
    tiny: ClassVar[dict[str, Any]] = {
        "model.backbone_options": OPTIONS, "model.batch": 8, **{f"data.{key}": value for key, value in SIZES.items()},
    }  # fmt: skip
    resumes: ClassVar[int | None] = 2


def test_the_recipes_are_these_and_the_paper_has_the_published_settings() -> None:
    assert packaged(["xcoop"]) == {"xcoop/default", "xcoop/paper"}
    settings = resolved("xcoop/paper", "--model.backbone", "x.ckpt")["model"]["init_args"]
    wanted = {
        "stage": "prompts", "context": "a photo of a", "count": 4, "prompt_weight": 5.0, "token_weight": 5.0,
        "scale": 100.0, "blur": 0.05, "norms": True, "lr": 0.032, "epochs": 120, "batch": 32,
    }  # fmt: skip
    assert {name: settings[name] for name in wanted} == wanted
    assert resolved("xcoop/default")["model"]["init_args"]["stage"] == "all"


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A carzero with a cosine head, trained for an epoch."""
    folder = tmp_path_factory.mktemp("fit") / "run"
    flags = [f"--data.{key}={value}" for key, value in SIZES.items()]
    flags += [f"--model.{key}={value}" for key, value in OPTIONS.items()]
    more = ["--model.fusion=cosine", "--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--quiet"]
    assert main(["fit", "--model", "carzero", *flags, *more, "--run_dir", str(folder)]) == 0
    return folder / "checkpoints" / "last.ckpt"


def trained(backbone: Path, data: Any = None, steps: int = 3, **options: Any) -> XCoOp:
    torch.manual_seed(0)
    given = {"context": "There is", "denied": "There is no", "count": 2, "batch": 8, "lr": 0.02, **options}
    model = XCoOp(stage="prompts", backbone=str(backbone), **given)
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_steps=steps, accelerator="cpu", enable_model_summary=False, **quiet)
    trainer.fit(model, datamodule=data or ReportPhantoms(**SIZES))
    return model.eval()


def context(model: XCoOp) -> Tensor:
    assert model.soft is not None
    return model.soft.context


def test_prompts_of_a_class_differ_only_where_noise_sets_them_apart(backbone: Path) -> None:
    """In the public code all start alike and get the same gradients: the ensemble is one prompt."""
    same, apart = trained(backbone, noise=0.0), trained(backbone, noise=0.05)
    assert torch.allclose(context(same)[0], context(same)[1], atol=1e-6)
    assert (context(apart)[0] - context(apart)[1]).abs().max() > 1e-3
    start = same.subject.embeddings[same.subject.tokens(["There is"]).ids[0, 1:3]]
    assert (context(same)[0, :2] - start).abs().max() > 1e-4  # they have learnt


def test_only_the_prompts_learn_and_the_model_stays_as_it_was(backbone: Path) -> None:
    model, before = trained(backbone), load_checkpoint(backbone)
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["soft.context"]
    kept = before.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in model.subject.state_dict().items())


def test_layer_norms_of_the_image_network_learn_a_tenth_as_fast(backbone: Path) -> None:
    options = {"backbone": "vit_tiny_patch16_224", "size": 32, "width": 32, "batch": 8, "epochs": 1}
    model = XCoOp(stage="backbone", backbone="carzero", backbone_options=options)
    model.stage = "prompts"  # as the second stage has it
    model.subject.requires_grad_(False)
    model.soft = torch.nn.Linear(1, 1)  # type: ignore[assignment]
    model.trainer = Trainer(max_steps=1, logger=False, accelerator="cpu")
    rates = [group["initial_lr"] for group in model.configure_optimizers()["optimizer"].param_groups]
    assert rates == pytest.approx([0.032, 0.0032])
    learn = {name for name, p in model.subject.named_parameters() if p.requires_grad}
    assert len(learn) == 2 * (2 * 12 + 1)
    assert all("norm" in name for name in learn)


def test_prompts_that_are_the_clinical_ones_cost_nothing() -> None:
    units = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0))).Q
    assert prompt_alignment(3 * units, units, 100.0) < 1e-6
    assert prompt_alignment(units.roll(1, 0), units, 100.0) > 50
    pieces = units[:4, None].repeat(1, 5, 1)
    assert token_alignment(pieces, pieces, 100.0) < 1e-6
    assert token_alignment(pieces.roll(1, 0), pieces, 100.0) > 50


def test_alignment_of_pieces_is_the_cosine_of_what_stands_in_the_same_place() -> None:
    g = torch.Generator().manual_seed(0)
    soft, clinical = torch.randn(2, 3, 4, generator=g), torch.randn(2, 3, 4, generator=g)
    clinical[1, 2] = 0  # padding
    cosine = torch.zeros(2, 2)
    for k in range(2):
        for c in range(2):
            each = torch.nn.functional.cosine_similarity(soft[k], clinical[c], dim=-1)
            cosine[k, c] = each.sum() / 3
    wanted = torch.nn.functional.cross_entropy(10 * cosine, torch.arange(2))
    assert token_alignment(soft, clinical, 10.0).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_without_alignment_prompts_choose_their_clinical_ones_less_surely(backbone: Path) -> None:
    def cost(model: XCoOp) -> float:
        with torch.no_grad():
            soft = model.prompts()[1].globals.unflatten(0, (2, -1)).mean(0)
            return float(prompt_alignment(soft, model.clinical()[0], 10.0))

    far = trained(backbone, steps=25, context="Low volumes", prompt_weight=0.0, token_weight=0.0)
    near = trained(backbone, steps=25, context="Low volumes")
    assert cost(far) > cost(near) + 0.1


def test_before_they_learn_prompts_are_the_words_and_a_logit_is_presence_less_absence(backbone: Path) -> None:
    model = trained(backbone, steps=1, lr=1e-12, noise=0.0)
    image = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = model.outputs({"image": image}).logits
        features = model.subject.encode_image(image)
        names = model.hparams["network"]["classes"]
        there = model.subject.similarity(features, model.subject.encode_text([f"There is {n}" for n in names]))
        absent = model.subject.similarity(features, model.subject.encode_text([f"There is no {n}" for n in names]))
        rows = [model.outputs({"image": one[None]}).logits for one in image]
    assert torch.allclose(found, there - absent, atol=1e-4)
    assert torch.allclose(torch.cat(rows), found, atol=1e-5)  # no other image of the batch counts


def test_exclusive_classes_have_one_prompt_each_and_their_order_is_that_of_the_logits(backbone: Path) -> None:
    data = ClassPhantoms(train=16, val=6, test=6, classes=2, pixels=32)
    model = trained(backbone, data, steps=1, lr=1e-12, noise=0.0)
    assert not model.hparams["network"]["multi_label"]
    names = list(data.classes)
    image = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = model.outputs({"image": image}).logits
        texts = model.subject.encode_text([f"There is {name}" for name in reversed(names)])
        turned = model.subject.similarity(model.subject.encode_image(image), texts)
    assert torch.allclose(found.flip(1), turned, atol=1e-4)


def test_images_of_any_data_are_brought_to_size_as_the_backbone_learnt_them(backbone: Path) -> None:
    model, data = XCoOp(stage="prompts", backbone=str(backbone)), ClassPhantoms(train=8, val=2, test=2, augment=0.0)
    processor = Processor((32, 32), "pad", 256 / 224)
    model.subject.processor = processor
    data.trainer = SimpleNamespace(lightning_module=model)  # type: ignore[assignment]
    samples: Any = data.test_dataloader().dataset
    array, _ = data.cases.parts["test"][0].load()
    assert torch.allclose(samples[0]["image"][0], torch.from_numpy(processor(array)), atol=1e-3)  # half precision
    assert samples[0]["affine"].numpy() == pytest.approx(processor.affine(*array.shape[::-1]))


def test_a_description_of_each_class_is_needed(backbone: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("pneumothorax: There is air in the pleural space\n")
    with pytest.raises(
        ConfigError, match=r"--model.clinical: no negative sentence of 'pneumothorax'|no description of"
    ):
        trained(backbone, clinical=str(tmp_path / "c.yaml"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stage": "both"}, "--model.stage: expected all, backbone or prompts, got both"),
        ({"count": 0}, "--model.count: expected at least 1, got 0"),
        ({"stage": "prompts", "backbone": "classifier"}, "--model.backbone: Classifier does not compare images"),
        ({"stage": "backbone", "backbone": "a/b.ckpt"}, "--model.backbone: a checkpoint is not trained"),
        ({"stage": "backbone", "backbone_options": {"no": 1}}, "--model.backbone_options: carzero takes no such"),
    ],
)
def test_a_wrong_option_costs_one_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        XCoOp(**options).wants()
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_prompts_are_not_learnt_on_a_backbone_that_nothing_has_trained() -> None:
    """Its random features would be frozen, and the figures would say nothing."""
    model = XCoOp(stage="prompts", backbone="carzero", backbone_options=OPTIONS)
    trainer = Trainer(max_steps=1, logger=False, enable_checkpointing=False, accelerator="cpu")
    with pytest.raises(ConfigError, match=r"--model.backbone: carzero is not trained; give its checkpoint, or --model"):
        trainer.fit(model, datamodule=ReportPhantoms(**SIZES))


def test_a_test_leaves_the_words_that_each_prompt_is_near_to(backbone: Path, tmp_path: Path) -> None:
    model = trained(backbone)
    Trainer(accelerator="cpu", logger=False, enable_progress_bar=False).test(
        model, datamodule=ReportPhantoms(**SIZES), verbose=False
    )
    assert model.evaluation is not None
    model.evaluation.report(tmp_path)
    with (tmp_path / "prompts.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 14 * (2 + 3)
    assert {row["nearest"] for row in rows if row["says"] == "present"} <= {"there", "is"}
