"""How samples become a batch: a rule a key, and one line that names key and id where that cannot be."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

import pytest
import torch
from torch import Tensor

from medzoo.core.errors import ConfigError
from medzoo.core.sample import ImageSample, LandmarkSample, MaskSample, Rule, Sample, collate, misfit, required, rules


class Everything(Sample):  # its annotations are texts (PEP 563), as in every module of the zoo
    image: Tensor
    signal: Annotated[Tensor, Rule.PAD]
    mask: NotRequired[Annotated[Tensor, Rule.LIST]]
    age: float
    number: NotRequired[int]
    smoker: bool


def sample(name: str, length: int = 3, **more: Any) -> dict[str, Any]:
    signal = torch.arange(1.0, length + 1)[:, None]
    found = {"id": name, "path": "", "image": torch.zeros(1, 2), "signal": signal, "age": 1.5, "smoker": True}
    return {**found, **more}


def test_each_key_follows_its_rule() -> None:
    batch = collate(
        [sample("a", number=3, mask=torch.ones(2, 2)), sample("b", 5, number=4, mask=torch.ones(3, 1))], Everything
    )
    assert batch["image"].shape == (2, 1, 2)
    assert batch["signal"].shape == (2, 5, 1)
    assert batch["signal"][0, :, 0].tolist() == [1, 2, 3, 0, 0]
    assert batch["signal_length"].tolist() == [3, 5]
    assert [tuple(mask.shape) for mask in batch["mask"]] == [(2, 2), (3, 1)]
    assert (batch["age"].dtype, batch["number"].dtype, batch["smoker"].dtype) == (
        torch.float32,
        torch.int64,
        torch.bool,
    )
    assert batch["id"] == ["a", "b"]
    assert misfit(batch, Everything) is None


def test_rules_and_required_keys_are_read_from_annotations_that_are_texts() -> None:
    assert {key for key in rules(Everything) if rules(Everything)[key] is Rule.PAD} == {"signal"}
    assert rules(Everything)["mask"] is Rule.LIST
    assert rules(Everything)["groups"] is Rule.LIST
    assert required(Everything) == {"id", "path", "image", "signal", "age", "smoker"}
    assert required(Sample) == {"id", "path"}
    assert required(LandmarkSample) == required(ImageSample) == {"id", "path", "image", "affine", "original_size"}
    assert "mask" not in required(MaskSample)


def without(name: str, key: str) -> dict[str, Any]:
    return {k: v for k, v in sample(name).items() if k != key}


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        ([sample("a"), without("b", "image")], ["'b'", "'image'"]),
        ([without("a", "age"), without("b", "age")], ["'a'", "'age'"]),  # no sample has what the kind requires
        ([sample("a", number=1), sample("b")], ["'b'", "'number'"]),
        ([sample("a", weight=1.0), sample("b", weight=2.0)], ["'a'", "'weight'", "Everything"]),
        ([sample("a"), sample("b", image=torch.zeros(1, 3))], ["'b'", "'image'", "(1, 3)", "'a'", "(1, 2)"]),
        ([sample("a"), sample("b", signal=torch.zeros(3, 2))], ["'b'", "'signal'", "(3, 2)", "'a'", "(3, 1)"]),
    ],
)
def test_what_cannot_be_joined_costs_one_line_with_key_and_id(samples: list[dict[str, Any]], told: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        collate(samples, Everything)
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in told), str(error.value)


def test_without_a_kind_the_values_say_how_and_a_late_key_is_not_lost() -> None:
    batch = collate([{"id": "a", "x": torch.zeros(2), "n": 1}, {"id": "b", "x": torch.ones(2), "n": 2}])
    assert batch["x"].shape == (2, 2)
    assert batch["n"].tolist() == [1, 2]
    with pytest.raises(ConfigError, match="sample 'a' has no 'late'"):
        collate([{"id": "a"}, {"id": "b", "late": 1}])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"image": None}, "'image' is missing"),
        ({"weight": torch.zeros(2)}, "'weight' is not a key of Everything"),
        ({"age": [1.0, 2.0]}, "'age' is a list"),
        ({"id": torch.zeros(2)}, "'id' is a Tensor"),
        ({"image": torch.zeros(3, 1, 2)}, "'image' has 3 values, 'id' 2"),
        ({"signal_length": torch.zeros(1)}, "'signal_length' has 1 values, 'id' 2"),
    ],
)
def test_a_misfit_is_told_by_its_key(change: dict[str, Any], told: str) -> None:
    batch = {**collate([sample("a"), sample("b", 4)], Everything), **change}
    assert misfit({key: value for key, value in batch.items() if value is not None}, Everything) == told
