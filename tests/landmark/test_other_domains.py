"""A training on other domains than those of the weights: what starts from them, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from medzoo.core import create_model
from medzoo.core.cli import main
from medzoo.core.io import read_json
from medzoo.core.phantoms import ANATOMIES
from medzoo.core.tasks.landmark_types import Domain
from medzoo.landmark.method import LandmarkMethod
from medzoo.landmark.shots import check_order

NAMES = {name: list(anatomy.landmarks) for name, anatomy in ANATOMIES.items()}
TINY = (
    "--data landmark-phantoms --data.n_train 4 --data.n_test 2 --data.image_size 32 --trainer.accelerator cpu --quiet"
)


def flat(found: Tensor | list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    return found.flatten() if isinstance(found, Tensor) else torch.cat([part.flatten() for part in found])


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("heatmap", None), ("gu2net", None), ("han", None), ("igu-aug", "round1"), ("cc2d", "stage1"),
        ("cc2d", "stage2"), ("uod", "stage1"), ("uod", "stage2"),
    ],
)  # fmt: skip
def test_a_domain_takes_the_weights_of_its_name(name: str, stage: str | None) -> None:
    torch.manual_seed(0)
    asked = {"stage": stage} if stage else {}
    old, new = (
        create_model(name, **asked, domains={d: NAMES[d] for d in domains})
        for domains in (("head", "hand", "chest"), ("chest", "hand"))
    )
    assert isinstance(new, LandmarkMethod)
    with torch.no_grad():
        for buffer in (b for b in old.buffers() if b.is_floating_point()):
            buffer.add_(torch.rand_like(buffer))  # statistics of their own
    matched = new.initial_weights(old.state_dict(), old.hparams)
    assert set(matched) == set(new.state_dict())
    new.load_state_dict(dict(matched))
    image = torch.rand(1, 1, 128, 128)
    with torch.no_grad():
        for domain in ("chest", "hand"):
            one, other = (
                flat(model.eval().get_submodule("network")(image, list(model.hparams["domains"]).index(domain)))
                for model in (old, new)
            )
            assert torch.equal(one, other)


def test_where_no_name_is_known_the_order_counts() -> None:
    old = create_model("heatmap", domains={"chest": NAMES["chest"]})
    new = create_model("heatmap", domains={"own": NAMES["chest"]})
    assert isinstance(new, LandmarkMethod)
    weights = old.state_dict()
    matched = new.initial_weights(weights, old.hparams)
    assert all(matched[name] is value for name, value in weights.items())


def test_a_training_of_other_domains_starts_from_weights_and_is_not_a_continued_one(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = "--model heatmap --model.size 32 --model.width 4 --model.decoder_width 8 --model.steps 1"
    assert main(f"fit {model} {TINY} --data.domains [head,hand] --run_dir both".split()) == 0
    last = "both/checkpoints/last.ckpt"
    assert main(f"fit --ckpt_path {last} {TINY} --data.domains [hand] --run_dir no".split()) == 2
    assert "the model has the domains head, hand in this order, the data hand" in capsys.readouterr().err
    fit = f"fit --model heatmap --init_from {last} {TINY} --data.domains [hand] --model.steps 1 --model.lr 0"
    assert main(f"{fit} --run_dir hand".split()) == 0
    # No learning at a rate of 0: the same network, but for the statistics that a step moves a little.
    both, hand = (
        torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True)["state_dict"] for run in ("both", "hand")
    )
    assert torch.equal(hand["network.heads.0.weight"], both["network.heads.1.weight"])
    assert read_json("hand/results.json")["metrics"]


def test_domains_of_the_data_stand_in_the_order_of_the_model() -> None:
    head, hand = (Domain(name, tuple(NAMES[name]), "mm", (2.0,)) for name in ("head", "hand"))
    known = {name: NAMES[name] for name in ("head", "hand")}
    check_order(known, [head, hand])
    check_order(known, [])
    for wrong in ([hand, head], [head], [hand]):
        with pytest.raises(Exception, match="in this order"):
            check_order(known, wrong)
