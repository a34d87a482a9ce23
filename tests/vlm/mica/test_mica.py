"""MICA: the contract of the house, its three alignments, and a diagnosis that hangs on concepts alone."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from medzoo.core.classifier.losses import labels_loss
from medzoo.core.cli import main
from medzoo.core.errors import ConfigError
from medzoo.core.testing import ModelContract
from medzoo.core.testing.recipes import packaged, parameters, resolved
from medzoo.core.zoo import load_checkpoint
from medzoo.vlm.data.phantoms import ReportPhantoms
from medzoo.vlm.mica.labels import caption, part
from medzoo.vlm.mica.losses import alignment, concept_loss
from medzoo.vlm.mica.module import MICA
from medzoo.vlm.mica.network import (
    Bottleneck,
    ConceptSpace,
    intervene,
    local_similarity,
    look,
    margins,
    ridge_directions,
)
from medzoo.vlm.mica.report import BottleneckEvaluation, BottleneckOutputs
from medzoo.vlm.phantoms.findings import DIAGNOSES, FINDINGS

SIZES = {"train": 24, "val": 6, "test": 9, "pixels": 32}
TINY: dict[str, Any] = {
    "model.size": 32, "model.width": 32, "model.batch": 8, **{f"data.{key}": value for key, value in SIZES.items()},
}  # fmt: skip
SMALL: dict[str, Any] = {
    "backbone": "test_efficientnet", "size": 32, "stride": 8, "width": 32, "text_layers": 2, "batch": 8,
    "diagnoses": list(DIAGNOSES), "lr": 0.002, "bottleneck_lr": 0.01,
}  # fmt: skip
ALL = torch.ones(2, 3, dtype=torch.bool)


class TestMICA(ModelContract):
    name: ClassVar[str] = "mica"
    tiny: ClassVar[dict[str, Any]] = TINY
    resumes: ClassVar[int | None] = 2


class TestFitted(ModelContract):
    name: ClassVar[str] = "mica"
    tiny: ClassVar[dict[str, Any]] = {**TINY, "model.stage": "align", "model.directions": "fitted"}
    resumes: ClassVar[int | None] = 1


def test_the_recipes_are_these_and_the_paper_has_the_published_settings() -> None:
    assert packaged(["mica"]) == {"mica/default", "mica/paper"}
    settings = resolved("mica/paper", "--model.diagnoses", "[melanoma]")["model"]["init_args"]
    wanted = {
        "stage": "all", "backbone": "resnet50", "size": [299, 299], "width": 768, "words": 20, "directions": "fitted",
        "leave_out_same": False, "local_weight": 1.0, "concept_weight": 1.0, "lr": 5e-5, "epochs": 50, "batch": 32,
        "bottleneck_lr": 1e-4, "bottleneck_epochs": 100, "corrected": 0.0,
    }  # fmt: skip
    assert {name: settings[name] for name in wanted} == wanted
    resnet = 23_508_032 + 2048 * 768 + 768 + 1024 * 768
    space = (20 * 768 + 1) * 768
    named = {"stage": "bottleneck", "concepts": ["a", "b"], "diagnoses": ["m"]}
    assert parameters("mica/paper", **named) == resnet + space + (768 + 1) * 2 + (2 + 1)


def test_words_look_at_patches_as_gloria_s_do() -> None:
    g = torch.Generator().manual_seed(0)
    patches, words = torch.randn(2, 4, 5, generator=g), torch.randn(2, 3, 5, generator=g)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    looks = look(patches, words, mask)
    for b in range(2):
        for m in range(2):
            own = words[m][mask[m]]
            similar = own @ patches[b].T  # words x patches
            attention = (4 * similar.softmax(0)).softmax(1)
            context = attention @ patches[b]
            assert torch.allclose(looks.contexts[b, m][mask[m]], context, atol=1e-5)
            cosine = torch.nn.functional.cosine_similarity(context, own, dim=1)
            wanted = math.log(sum(math.exp(5 * float(c)) for c in cosine))
            assert local_similarity(looks, words, mask)[b, m].item() == pytest.approx(wanted, abs=1e-4)
    assert looks.contexts[:, 1, 2].abs().max() == 0  # there is no word


def test_the_order_of_patches_and_the_padding_of_texts_do_not_matter() -> None:
    g = torch.Generator().manual_seed(0)
    patches, words = torch.randn(2, 6, 5, generator=g), torch.randn(2, 3, 5, generator=g)
    plain = local_similarity(look(patches, words, ALL), words, ALL)
    moved = local_similarity(look(patches[:, torch.randperm(6, generator=g)], words, ALL), words, ALL)
    longer, mask = torch.cat([words, torch.randn(2, 4, 5, generator=g)], 1), torch.arange(7) < 3
    padded = local_similarity(look(patches, longer, mask.expand(2, 7)), longer, mask.expand(2, 7))
    assert torch.allclose(plain, moved, atol=1e-5)
    assert torch.allclose(plain, padded, atol=1e-5)


def test_a_margin_does_not_hang_on_the_length_of_its_direction() -> None:
    g = torch.Generator().manual_seed(0)
    hidden, vectors, intercepts = torch.randn(4, 6, generator=g), torch.randn(3, 6, generator=g), torch.ones(3)
    assert torch.allclose(margins(hidden, vectors, intercepts), margins(hidden, 3 * vectors, 3 * intercepts), atol=1e-5)


def test_directions_separate_what_can_be_separated_and_are_then_left_alone() -> None:
    g = torch.Generator().manual_seed(0)
    features = torch.randn(200, 6, generator=g)
    labels = torch.stack([(features[:, 0] > 0.3).float(), (features[:, 1] + features[:, 2] > 0).float()], 1)
    labels[::7, 1] = torch.nan
    vectors, intercepts = ridge_directions(features, labels)
    called = margins(features, vectors, intercepts) > 0
    known = ~labels.isnan()
    assert (called[known] == (labels[known] == 1)).float().mean() > 0.9
    empty = ridge_directions(features, torch.zeros(200, 1))
    assert margins(features, *empty).abs().max() == 0  # nobody has it
    space = ConceptSpace(2, 6, 4, learned=False)
    space.fill(vectors, intercepts)
    assert [name for name, _ in space.named_parameters()] == ["hidden.weight", "hidden.bias"]
    assert torch.equal(space.vectors, vectors)


def test_losses_are_the_cross_entropies_that_they_say() -> None:
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 4, generator=g)
    entropy, own = torch.nn.functional.cross_entropy, torch.arange(4)
    assert alignment(logits) == pytest.approx(float((entropy(logits, own) + entropy(logits.T, own)) / 2))
    same = torch.eye(4, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    kept = logits.clone()
    kept[0, 1] = kept[1, 0] = -1e9
    assert alignment(logits, same) == pytest.approx(float(alignment(kept)))
    labels = torch.tensor([[1.0, 1.0, torch.nan], [0.0, 0.0, 1.0]])
    m = torch.randn(2, 3, generator=g)
    wanted = -(m[0, :2].log_softmax(0).sum() + m[1].log_softmax(0)[2]) / 2  # what was not looked for is not wrong
    assert concept_loss(m, labels) == pytest.approx(float(wanted))
    m = m.requires_grad_()
    concept_loss(m, torch.full((2, 3), torch.nan)).backward()
    assert m.grad is not None
    assert m.grad.abs().max() == 0


def test_captions_are_the_names_of_concepts() -> None:
    assert caption(["streaks", "globules", "pigment"], [1.0, 0.0, 1.0]) == "streaks, pigment"
    assert caption(["pigment_network"], [1.0]) == "pigment network"  # as a prompt has it
    assert caption(["streaks"], [math.nan]) == "normal"
    label = torch.tensor([[1.0, 0.0, torch.nan]])
    assert part(label, ["a", "b", "c"], ["c", "a", "new"])[:, 1].tolist() == [1.0]
    assert part(label, ["a", "b", "c"], ["c", "a", "new"]).isnan().tolist() == [[True, False, True]]


def test_the_most_uncertain_concepts_are_asked_for_and_unknown_ones_stay() -> None:
    found = torch.tensor([[0.9, 0.45, 0.2, 0.6]])
    truth = torch.tensor([[0.0, 1.0, 1.0, torch.nan]])
    assert torch.equal(intervene(found, truth, 0), found)
    assert torch.equal(intervene(found, truth, 1), torch.tensor([[0.9, 1.0, 0.2, 0.6]]))
    assert torch.allclose(intervene(found, truth, 4), torch.tensor([[0.0, 1.0, 1.0, 0.6]]))


def test_corrected_concepts_never_hurt_where_a_diagnosis_follows_from_them() -> None:
    torch.manual_seed(0)
    truth = (torch.rand(300, 3) < 0.5).float()
    diagnosis = ((truth[:, 0] + truth[:, 1]) > 0).float()[:, None]
    feature = truth @ torch.randn(3, 8) + 0.9 * torch.randn(300, 8)
    net = Bottleneck(8, 3, 1)
    optimiser = torch.optim.Adam(net.parameters(), 0.05)
    binary = torch.nn.functional.binary_cross_entropy_with_logits
    for _ in range(300):
        concepts, answers = net(feature)
        loss = binary(concepts, truth) + binary(answers, diagnosis)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    concepts, answers = net(feature)
    names = ("a", "b", "c", "ill")
    evaluation = BottleneckEvaluation(names, names[:3], names[3:], net.diagnose, spread=True)
    batch = {
        "id": [str(i) for i in range(300)], "path": [""] * 300, "source": ["set"] * 300,
        "label": torch.cat([truth, diagnosis], 1),
    }  # fmt: skip
    evaluation.update(batch, BottleneckOutputs(answers, ("ill",), True, concepts, names[:3]))
    found = evaluation.compute()
    curve = [row["auroc"] for row in evaluation.curve]
    assert len(curve) == 4
    assert curve[0] == pytest.approx(found["set/auroc"])
    assert curve == sorted(curve)
    assert curve[-1] == found["set/intervened/auroc"] > found["set/auroc"]
    again = net.diagnose(concepts.sigmoid())  # nothing but the concepts is seen
    assert torch.equal(again, answers)


def test_diagnoses_that_learn_from_corrected_concepts_can_be_corrected_where_images_say_little() -> None:
    """With weak concepts the diagnoses of the paper's loss are worse on the truth; what was corrected is the cure."""
    areas = {}
    for share in (0.0, 0.5):
        torch.manual_seed(0)
        truth = (torch.rand(400, 6) < 0.15).float()
        diagnosis = ((truth[:, 0] + truth[:, 1]) > 0).float()[:, None]
        feature = torch.cat([diagnosis + 0.5 * torch.randn(400, 1), torch.randn(400, 7)], 1)  # no concept, its sum
        net = Bottleneck(8, 6, 1)
        optimiser = torch.optim.Adam(net.parameters(), 0.05)
        for _ in range(100):
            concepts, answers = net(feature, truth, share)
            loss = labels_loss(concepts, truth) + labels_loss(answers, diagnosis)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        areas[share] = area(net.diagnose(truth), diagnosis)
    assert areas[0.5] > max(0.98, areas[0.0])


def area(scores: torch.Tensor, labels: torch.Tensor) -> float:
    """AUROC of one column by all its pairs."""
    pairs = scores[labels == 1][:, None] - scores[labels == 0][None]
    return float(((pairs > 0).float() + 0.5 * (pairs == 0)).mean())


def test_a_diagnosis_that_sees_true_concepts_alone_does_not_hang_on_the_image() -> None:
    torch.manual_seed(0)
    net, truth = Bottleneck(8, 3, 1), torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, torch.nan]])
    feature = torch.randn(2, 8)
    assert torch.equal(net(feature, truth, 1.0)[1][0], net.diagnose(truth)[0])
    assert net(feature, truth, 1.0)[1][1] == net.diagnose(torch.tensor([0.0, 1.0, net(feature)[0].sigmoid()[1, 2]]))
    assert torch.equal(net(feature, truth, 0.0)[1], net(feature)[1])


class Seen(Callback):
    """Keeps the labels of each training image."""

    def __init__(self) -> None:
        self.labels: dict[str, list[float]] = {}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.labels |= dict(zip(batch["id"], batch["label"].tolist(), strict=True))


def fit(model: MICA, *callbacks: Callback, **options: Any) -> Trainer:
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", enable_model_summary=False, callbacks=list(callbacks) or None, **quiet
    )
    trainer.fit(model, datamodule=ReportPhantoms(**SIZES, diagnoses=True, **options))
    return trainer


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> tuple[MICA, dict[str, object]]:
    folder = tmp_path_factory.mktemp("align") / "run"
    flags = [f"--{key}={value}" for key, value in TINY.items()]
    more = ["--model.stage=align", "--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--quiet"]
    assert main(["fit", "--model", "mica", *flags, *more, "--run_dir", str(folder)]) == 0
    path = folder / "checkpoints/last.ckpt"
    model = load_checkpoint(path)
    assert isinstance(model, MICA)
    handed = {name: model.hparams[name] for name in ("concepts", "network", "words", "directions")}
    return model, {"aligned": str(path), **handed}


def test_labels_stay_with_their_images() -> None:
    model, seen = MICA(stage="align", **SMALL), Seen()
    fit(model, seen)
    cases = {item.id: list(item.label) for item in model.data.cases.parts["train"]}
    assert seen.labels == cases


def test_the_second_stage_learns_both_heads_and_leaves_the_encoders(
    aligned: tuple[MICA, dict[str, object]],
) -> None:
    first, handed = aligned
    torch.manual_seed(0)
    model = MICA(stage="bottleneck", **{**SMALL, **handed})
    start = {name: value.clone() for name, value in model.bottleneck.state_dict().items()}  # type: ignore[union-attr]
    fit(model)
    kept = first.state_dict()
    now = model.state_dict()
    assert all(torch.equal(now[name], value) for name, value in kept.items())
    assert model.bottleneck is not None
    changed = [name for name, value in model.bottleneck.state_dict().items() if not torch.equal(value, start[name])]
    assert changed == ["concepts.weight", "concepts.bias", "diagnoses.weight", "diagnoses.bias"]


def test_a_score_depends_on_its_image_and_its_text_alone(aligned: tuple[MICA, dict[str, object]]) -> None:
    model, _ = aligned
    image = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    texts = ["pleural effusion", "lung mass, emphysema", "normal"]
    with torch.no_grad():
        text = model.encode_text(texts)
        whole = model.similarity(model.encode_image(image), text)
        rows = [model.similarity(model.encode_image(one[None]), text) for one in image]
        columns = [model.similarity(model.encode_image(image), model.encode_text([one])) for one in texts]
        seen = model.attention_maps(model.encode_image(image), text)
    assert torch.allclose(torch.cat(rows), whole, atol=1e-5)
    assert torch.allclose(torch.cat(columns, 1), whole, atol=1e-5)
    assert torch.allclose(seen.sum((2, 3)), torch.ones(3, 3), atol=1e-5)


def test_a_fit_leaves_interventions_and_predictions_name_the_concepts(tmp_path: Path) -> None:
    flags = [f"--{key}={value}" for key, value in TINY.items()]
    more = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--quiet", "--run_dir", str(tmp_path / "run")]
    assert main(["fit", "--model", "mica", *flags, *more]) == 0
    with (tmp_path / "run/interventions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["corrected"]) for row in rows] == list(range(len(FINDINGS) + 1))
    last = tmp_path / "run/checkpoints/last.ckpt"
    model = load_checkpoint(last)
    assert isinstance(model, MICA)
    assert model.hparams["concepts"] == list(FINDINGS)
    folder = tmp_path / "predicted"
    assert (
        main(["predict", "--ckpt_path", str(last), "--trainer.accelerator=cpu", "--quiet", "--run_dir", str(folder)])
        == 0
    )
    record = json.loads((folder / "predictions.json").read_text())["predictions"][0]
    assert list(record["probabilities"]) == list(DIAGNOSES)
    assert list(record["concepts"]) == list(FINDINGS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stage": "second"}, "--model.stage: expected all, align, bottleneck"),
        ({"directions": "svm"}, "--model.directions: expected fitted, learned, got svm"),
        ({"corrected": -0.5}, "--model.corrected: expected at least 0, got -0.5"),
        ({"words": 2}, "--model.words: expected at least 3"),
    ],
)
def test_a_wrong_option_costs_one_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        MICA(**{**SMALL, **options})
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stage": "bottleneck"}, "--model.aligned: the bottleneck needs the checkpoint"),
        ({"stage": "bottleneck", "diagnoses": None, "aligned": "x"}, "--model.diagnoses: nothing is to be diagnosed"),
        ({"diagnoses": ["gout"]}, "--model.diagnoses: the data have no label 'gout', only pleural effusion"),
        ({"diagnoses": [*FINDINGS, *DIAGNOSES]}, "--model.diagnoses: all labels of the data are diagnoses"),
    ],
)
def test_a_fit_without_what_it_needs_costs_one_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        fit(MICA(**{**SMALL, **options}))
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)
