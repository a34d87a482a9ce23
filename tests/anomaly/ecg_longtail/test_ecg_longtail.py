"""What makes long-tail diagnosis the method it is: two stages, a classifier of tokens, labels that are mostly rare."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medzoo.anomaly.diagnosis.network import TokenClassifier
from medzoo.anomaly.ecg_longtail.module import EcgLongtail
from medzoo.anomaly.signals.diagnoses import _EXCLUSIVE, CLASSES, EcgDiagnoses
from medzoo.core.classifier.losses import asymmetric
from medzoo.core.errors import ConfigError
from medzoo.core.metrics.anomaly import auroc
from medzoo.core.phantoms.ecg import twelve_leads
from medzoo.core.sample import Batch
from medzoo.core.tasks.diagnosis import DiagnosisEvaluation, compared, tiers
from medzoo.core.testing.recipes import parameters

SMALL = {
    "rate": 100.0, "length": 320, "beat": 96, "widths": [4, 4, 4, 4, 4], "hidden": 6, "tail": 3, "head": [8],
    "width": 8, "blocks": 2, "groups": 2, "classes": ["a", "b", "c"], "shares": [0.5, 0.2, 0.1], "stage": "diagnose",
}  # fmt: skip


def small(**options: object) -> EcgLongtail:
    torch.manual_seed(0)
    return EcgLongtail(**{**SMALL, **options})  # type: ignore[arg-type]


def batch(count: int = 4) -> Batch:
    torch.manual_seed(1)
    return {
        "id": [str(i) for i in range(count)], "path": [""] * count, "signal": torch.randn(count, 12, 320),
        "beats": [torch.tensor([60, 130, 200]) for _ in range(count)], "source": ["s"] * count,
        "age": torch.full((count,), math.nan), "sex": torch.full((count,), math.nan),
        "label": torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 1, 1], [0, math.nan, 1]])[:count],
    }  # fmt: skip


def test_the_classifier_has_the_size_and_lengths_of_the_public_one() -> None:
    net = TokenClassifier(100, 116).eval()
    assert sum(p.numel() for p in net.parameters()) == 692_724
    assert parameters("ecg-longtail/paper", stage="diagnose", classes=[str(i) for i in range(116)]) == 26_455_226
    lengths: list[int] = []
    for block in net.blocks:
        block.register_forward_hook(lambda _, __, out: lengths.append(out.shape[-1]))
    with torch.no_grad():
        assert net(torch.randn(2, 100, 136)).shape == (2, 116)
    assert [lengths[i] for i in (0, 1, 7, 13)] == [136, 68, 34, 17]


def test_the_asymmetric_loss_without_its_asymmetry_is_the_cross_entropy_and_easy_negatives_add_nothing() -> None:
    torch.manual_seed(0)
    logits, label = torch.randn(5, 4), (torch.rand(5, 4) > 0.5).float()
    plain = asymmetric(logits, label, 0, 0, 0, through_focus=False)
    torch.testing.assert_close(plain, F.binary_cross_entropy_with_logits(logits, label, reduction="none").mean(1))
    easy = torch.tensor([[-4.0, 0.3]], requires_grad=True)  # p = 0.018, below the margin
    asymmetric(easy, torch.zeros(1, 2), through_focus=False).sum().backward()
    assert easy.grad is not None
    assert easy.grad[0, 0] == 0
    p = torch.tensor(0.3).sigmoid()
    slope = (p - 0.05) ** 4 * p * (1 - p) / (1.05 - p) / 2  # the focusing factor is a constant
    torch.testing.assert_close(easy.grad[0, 1], slope)


def trained(model: EcgLongtail) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return the weights before and after three steps."""
    model.log = model.log_dict = lambda *_, **__: None  # type: ignore[assignment, method-assign]
    type(model).given = property(lambda self: tuple(self.hparams["classes"]))  # type: ignore[assignment]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2)
    model.train()
    for _ in range(3):
        optimizer.zero_grad()
        model.training_step(batch(), 0).backward()
        optimizer.step()
    return before, model.state_dict()


@pytest.mark.parametrize("joint", [False, True])
def test_frozen_encoders_stay_bit_for_bit_and_joint_ones_learn(joint: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EcgLongtail, "given", EcgLongtail.given)  # put back after the test
    before, after = trained(small(joint=joint))
    model = small(joint=joint)
    model.setup("fit")
    assert model.net.training is joint
    assert model.classifier is not None
    assert model.classifier.training
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == ({"net", "head", "classifier"} if joint else {"classifier"})


def test_answers_repeat_and_do_not_depend_on_the_batch_age_or_sex() -> None:
    model, whole = small().eval(), batch()
    first, again = model.outputs(whole), model.outputs({**whole, "age": torch.zeros(4), "sex": torch.ones(4)})
    assert torch.equal(first.logits, again.logits)
    alone = model.outputs({key: value[1:2] for key, value in whole.items()})
    torch.testing.assert_close(first.logits[1:2], alone.logits)
    none = model.outputs({**whole, "beats": [torch.tensor([], dtype=torch.int64)] * 4})
    assert none.logits.isfinite().all()


def test_a_prediction_has_labels_score_and_map(tmp_path: Path) -> None:
    model, whole = small().eval(), batch(1)
    whole |= {"start": torch.zeros(1), "original_length": torch.tensor([640]), "original_rate": torch.tensor([200.0]),
              "rate": torch.tensor([100.0]), "leads": [[f"L{i}" for i in range(12)]]}  # fmt: skip
    (answer,) = model.predictions(whole, model.outputs(whole))
    assert set(answer.record["probabilities"]) == {"a", "b", "c"}  # type: ignore[call-overload]
    assert answer.record["score"] > 0  # type: ignore[operator]
    assert answer.save is not None
    assert len(Path(str(answer.save(tmp_path)["scores"])).read_text().splitlines()) == 641


def test_wrong_settings_cost_one_line() -> None:
    for options, said in (
        ({"stage": "two"}, "model.stage"), ({"width": 9}, "multiple of --model.groups"),
        ({"shares": [0.5]}, "model.shares: expected one for each"), ({"classes": None}, "model.shares"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            small(**options)


def test_a_record_with_an_unknown_label_chooses_no_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    model, whole = small().eval(), batch()
    whole["label"] = torch.tensor([[0.0, 0, 0], [0, math.nan, 0], [0, 1, 0], [math.nan] * 3])
    monkeypatch.setattr("medzoo.core.method.Method.validation_step", lambda *_: None)
    model.validation_step(whole, 0)
    assert [score for score, _ in model.normal_scores] == model.scored(whole).scores[:1].tolist()


def test_given_labels_take_their_shares_from_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    data = EcgDiagnoses(train=200)
    monkeypatch.setattr(EcgLongtail, "data", data)
    model = small(classes=["lbbb", "af", "own"], shares=None)
    model.setup("validate")
    assert model.hparams["shares"] == [data.shares[CLASSES.index("lbbb")], data.shares[0], 0.0]
    assert model.new_evaluation("validate") is not None


def test_training_is_long_tailed_and_a_test_is_not() -> None:
    data = EcgDiagnoses(train=2000, test=680)
    shares = dict(zip(CLASSES, data.shares, strict=True))
    assert shares[CLASSES[0]] > 8 * shares[CLASSES[-1]] > 0
    kinds = [data._kinds("test", i) for i in range(680)]
    counts = [sum(name in kind.split("+") for kind in kinds) for name in CLASSES]
    assert kinds.count("") == 170
    assert min(counts) >= 30
    assert max(counts) < 2 * min(counts)
    drawn = [set(data._kinds("train", i).split("+")) for i in range(2000)]
    assert 0.15 < np.mean([len(own) == 2 for own in drawn]) < 0.3
    assert not any(own <= kinds for own in drawn if len(own) == 2 for kinds in _EXCLUSIVE)
    assert EcgDiagnoses(train=50)._kinds("train", 7) == data._kinds("train", 7)


def test_a_record_with_two_labels_is_changed_by_both() -> None:
    both, first, second = (twelve_leads(5, kind=kind, rate=100.0) for kind in ("rbbb+pvc", "rbbb", "pvc"))
    assert not np.array_equal(both.signal, first.signal)
    assert not np.array_equal(both.signal, second.signal)
    assert both.mask.mean() > first.mask.mean()
    assert np.array_equal(twelve_leads(5, kind="pvc", rate=100.0).signal, second.signal)


def test_figures_of_a_tier_are_means_over_its_labels() -> None:
    rng = np.random.default_rng(0)
    shares = dict(zip("abcdef", (0.4, 0.3, 0.2, 0.1, 0.05, 0.02), strict=True))
    assert tiers(shares) == dict(zip("abcdef", ["common"] * 2 + ["uncommon"] * 2 + ["rare"] * 2, strict=True))
    label = torch.from_numpy((rng.random((60, 6)) < 0.3).astype(np.float32))
    logits = torch.from_numpy(rng.standard_normal((60, 6))) + label
    evaluation = DiagnosisEvaluation(tuple("abcdef"), shares, spread=False)
    model = small(classes=list("abcdef"), shares=list(shares.values()))
    whole: Batch = {"id": [str(i) for i in range(60)], "path": [""] * 60, "source": ["s"] * 60, "label": label}
    evaluation.update(whole, model._answer(logits))
    found = evaluation.compute()
    each = [auroc(logits[:, i], label[:, i]) for i in range(6)]
    assert found["s/auroc_rare"] == pytest.approx(np.mean(each[4:]))
    assert found["s/auroc_common"] == pytest.approx(np.mean(each[:2]))


def test_equal_groups_have_no_gap_and_one_that_ranks_worse_is_found() -> None:
    rng = np.random.default_rng(0)
    label = (rng.random((200, 3)) < 0.4).astype(float)
    chances = 1 / (1 + np.exp(-(2 * label + rng.standard_normal((200, 3)))))
    twice = np.concatenate([label, label]), np.concatenate([chances, chances])
    codes, patients = np.repeat([0, 1], 200), np.arange(400).astype(str)
    same = compared(twice[1], twice[0], codes, patients)
    assert [row["more"] for row in same] == [0, 0]
    spoiled = twice[1].copy()
    spoiled[200:] = rng.permutation(spoiled[200:])
    worse = compared(spoiled, twice[0], codes, patients)[1]
    assert float(worse["more_high"]) < 0
    mixed = compared(spoiled, twice[0], rng.permutation(codes), patients)[1]
    assert float(mixed["more_low"]) < 0 < float(mixed["more_high"])
    assert compared(chances[:8], label[:8], codes[:8], patients[:8])[0]["classes"] == 0
