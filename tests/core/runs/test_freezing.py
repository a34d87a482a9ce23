"""`--freeze PART`: what is named keeps weights and statistics, through every way in which a training goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import yaml
from medzoo_toy.model import Toy
from torch import Tensor, nn

from medzoo.core.cli import main
from medzoo.core.errors import ConfigError
from medzoo.core.runs.freezing import parts_called

RUN = Path("runs/toy/toy-data")
STAY = ["--seed_everything", "3", "--quiet"]


def weights(run: int, name: str = "last") -> dict[str, Tensor]:
    """The tensors of a run's checkpoint by name."""
    found = torch.load(RUN / str(run) / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
    return {key: value for key, value in found.items() if not key.endswith("num_batches_tracked")}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """The tensors that differ, by name."""
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.fixture
def first(workdir: Path) -> dict[str, Tensor]:
    """What a training of one epoch ends with."""
    assert main(["fit", "--model", "toy", "--trainer.max_epochs", "1", *STAY]) == 0
    return weights(0)


def fit(*args: str, epochs: int = 2) -> int:
    given = ["--init_from", str(RUN / "0/checkpoints/last.ckpt"), "--trainer.max_epochs", str(epochs), *STAY]
    return main(["fit", "--model", "toy", *given, *args])


SECOND = {"second.weight", "second.bias"}


def test_a_frozen_part_keeps_its_weights_and_running_statistics(
    first: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit("--freeze", "first") == 0
    assert changed(first, weights(1)) == SECOND
    assert "frozen: first (56 of 65 parameters)" in capsys.readouterr().out
    assert fit() == 0
    assert changed(first, weights(2)) == set(first), "without the option all of them change"


def test_a_configuration_freezes_as_the_flag_does_and_a_run_keeps_it(first: dict[str, Tensor]) -> None:
    Path("own.yaml").write_text("freeze: [first]\n")
    assert fit("--config", "own.yaml") == 0
    assert changed(first, weights(1)) == SECOND
    assert yaml.safe_load((RUN / "1/config.yaml").read_text())["freeze"] == ["first"]


def test_what_goes_on_from_a_run_or_a_checkpoint_stays_frozen(first: dict[str, Tensor]) -> None:
    assert fit("--freeze", "first", epochs=4) == 0
    whole = weights(1)
    assert fit("--freeze", "first", epochs=2) == 0
    two = str(RUN / "2/checkpoints/last.ckpt")
    assert main(["fit", "--ckpt_path", two, "--trainer.max_epochs", "4", *STAY]) == 0
    assert main(["fit", "--resume", "--run_dir", str(RUN / "2"), "--trainer.max_epochs", "4", "--quiet"]) == 0
    for run in (2, 3):
        assert changed(first, weights(run)) == SECOND
        assert not changed(whole, weights(run)), "and ends as an uninterrupted training does"


def test_a_run_that_goes_on_from_a_frozen_one_says_so_in_its_configuration(first: dict[str, Tensor]) -> None:
    assert fit("--freeze", "first") == 0
    two = str(RUN / "1/checkpoints/last.ckpt")
    assert main(["fit", "--ckpt_path", two, "--trainer.max_epochs", "3", *STAY]) == 0
    config = yaml.safe_load((RUN / "2/config.yaml").read_text())
    assert (config["freeze"], config["ckpt_path"]) == (["first"], two)


def test_a_frozen_part_stays_at_rest_where_the_method_sets_the_mode_within_a_step(
    first: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Toy.training_step
    monkeypatch.setattr(Toy, "training_step", lambda self, batch, index: step(self.train(), batch, index))
    assert fit("--freeze", "first") == 0
    assert changed(first, weights(1)) == SECOND


def test_a_loss_of_frozen_weights_alone_is_refused(
    first: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Toy, "training_step", lambda self, batch, index: self.first(batch["x"]).mean())
    assert fit("--freeze", "first") == 2
    assert "--freeze first: the loss depends on frozen weights alone" in capsys.readouterr().err


def test_other_verbs_take_the_configuration_of_a_frozen_run_but_not_the_flag(
    first: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit("--freeze", "first") == 0
    test = ["test", "--ckpt_path", str(RUN / "1/checkpoints/last.ckpt"), "--quiet"]
    assert main([*test, "--config", str(RUN / "1/config.yaml")]) == 0
    assert main([*test, "--freeze", "first"]) == 2
    assert "medzoo test changes no weights" in capsys.readouterr().err


def test_two_optimisers_by_hand_leave_a_frozen_part_alone(first: dict[str, Tensor]) -> None:
    assert fit("--freeze", "first", "--model.two_optimizers", "true") == 0
    assert changed(first, weights(1)) == SECOND


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            "third",
            "the model has no part of this name with weights; it has first, first.0, first.1, second",
        ),
        ("first.3", "--freeze first.3: the model has no part of this name with weights"),
        ("first,second", "nothing is left to train"),
        ("first.*", "expected names of parts of the model"),
        ("first,,", "expected names of parts of the model"),
    ],
)
def test_a_name_that_freezes_nothing_or_all_is_refused(
    given: str, said: str, first: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit("--freeze", given) == 2
    assert said in capsys.readouterr().err


def test_all_stages_at_once_freeze_nothing(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--model", "toy-stages", "--model.stage", "all", "--freeze", "first", "--quiet"]) == 2
    assert "--freeze is for one stage" in capsys.readouterr().err


def classify(*args: str) -> dict[str, Tensor]:
    """Train a classifier for a step; the tensors that it ends with."""
    small = ["--model.backbone", "test_efficientnet", "--model.size", "32", "--data.train", "8", "--data.test", "8"]
    run = ["--trainer.max_steps", "1", "--run_dir", "-".join(["run", *args])[:20], *STAY]
    assert main(["fit", "--model", "classifier", *small, *run, *args]) == 0
    return dict(torch.load(f"{run[3]}/checkpoints/last.ckpt", weights_only=True)["state_dict"])


def test_the_last_word_of_a_dotted_name_is_enough(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classify("--freeze", "conv_stem")
    assert "frozen: conv_stem (216 of " in capsys.readouterr().out


def test_the_backbone_of_a_classifier_is_all_but_its_head(workdir: Path) -> None:
    start = classify("--model.lr", "0")
    start = {name: value for name, value in start.items() if "running" not in name and "tracked" not in name}
    assert changed(start, classify("--freeze", "backbone")) == {
        "network.model.classifier.weight",
        "network.model.classifier.bias",
    }


def test_a_backbone_is_found_by_what_timm_gives_its_networks() -> None:
    for options in ({"features_only": True}, {}, {"num_classes": 0}):
        net = nn.Sequential(timm.create_model("test_resnet", pretrained=False, **options), nn.Linear(4, 2))
        net.train()
        (part,) = parts_called(net, "backbone")
        head = list(net[0].get_classifier().parameters()) if not options else []
        rest = {id(weight) for weight in [*head, *net[1].parameters()]}
        assert {id(weight) for weight in part.weights} == {id(weight) for weight in net.parameters()} - rest
    with pytest.raises(ConfigError, match="it has 1"):
        parts_called(nn.Sequential(nn.ReLU(), nn.Linear(4, 2)), "backbone")
