"""The phantoms with groups: exact numbers, what the seed keeps, and the order by groups."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import numpy as np
import pytest

from medzoo.core.classifier.data.order import cells_of, drawn_batches
from medzoo.core.errors import ConfigError
from medzoo.core.testing import DataModuleContract
from medzoo.fairness.data.phantoms import LesionPhantoms, LesionStructures, ShortcutPhantoms
from medzoo.fairness.phantoms import lesion


class TestLesionPhantoms(DataModuleContract):
    name: ClassVar[str] = "lesion-phantoms"
    tiny: ClassVar[dict[str, Any]] = {"train": 8, "val": 4, "test": 6, "pixels": 16, "order": "group-class"}


class TestShortcutPhantoms(DataModuleContract):
    name: ClassVar[str] = "shortcut-phantoms"
    tiny: ClassVar[dict[str, Any]] = {"train": 8, "val": 4, "test": 6, "pixels": 16}


class TestLesionStructures(DataModuleContract):
    name: ClassVar[str] = "lesion-structures"
    tiny: ClassVar[dict[str, Any]] = {"train": 8, "val": 4, "test": 6, "pixels": 16, "structures": 3}


def table(data: LesionPhantoms, part: str, *names: str) -> Counter[tuple[Any, ...]]:
    return Counter((item.label, *(item.groups[name] for name in names)) for item in data.cases.parts[part])


def test_groups_and_classes_have_the_numbers_that_are_asked_for() -> None:
    data = LesionPhantoms(1000, 100, 200, dark=0.3, prevalence=0.4, prevalence_dark=0.1)
    assert table(data, "train", "skin") == {(0, 0): 420, (1, 0): 280, (0, 1): 270, (1, 1): 30}
    assert table(data, "test", "skin") == {(0, 0): 84, (1, 0): 56, (0, 1): 54, (1, 1): 6}


def test_a_shortcut_is_that_of_the_lesions_with_other_defaults() -> None:
    own, general = ShortcutPhantoms(100, 20, 40), LesionPhantoms(100, 20, 40, dark=0, overlap=0.06, conflict=0.05)
    for part in ("train", "val", "test"):
        assert all(
            (a.id, a.label, a.groups) == (b.id, b.label, b.groups) and np.array_equal(a.load()[0], b.load()[0])
            for a, b in zip(own.cases.parts[part], general.cases.parts[part], strict=True)
        )
    assert table(own, "train", "ink") == {(0, 0): 48, (0, 1): 2, (1, 1): 48, (1, 0): 2}
    assert table(own, "test", "ink") == {(0, 0): 10, (0, 1): 10, (1, 1): 10, (1, 0): 10}


def test_label_bias_is_of_one_group_and_of_training_alone() -> None:
    fair, biased = (LesionPhantoms(400, 40, 400, dark=0.5, flipped=share) for share in (0.0, 0.4))
    assert table(fair, "train", "skin") == {(0, 0): 100, (1, 0): 100, (0, 1): 100, (1, 1): 100}
    assert table(biased, "train", "skin") == {(0, 0): 100, (1, 0): 100, (0, 1): 140, (1, 1): 60}
    assert table(biased, "test", "skin") == table(fair, "test", "skin")


def test_unknown_skin_is_minus_one_and_never_a_group() -> None:
    data = LesionPhantoms(200, 20, 200, missing=0.25)
    known = Counter(item.groups["skin"] for item in data.cases.parts["train"])
    assert known[-1] == 50
    assert set(known) == {-1, 0, 1}


def test_ink_goes_with_the_class_in_training_only() -> None:
    data = LesionPhantoms(1000, 80, 400, conflict=0.02)
    assert table(data, "train", "ink") == {(0, 0): 490, (0, 1): 10, (1, 1): 490, (1, 0): 10}
    assert set(table(data, "test", "ink").values()) == {100}
    assert set(table(data, "val", "ink").values()) == {20}
    assert data.group_names == {"skin": ("light", "dark"), "ink": ("absent", "present")}
    assert data.bias == "ink"
    assert LesionPhantoms().bias is None


def test_the_same_seed_draws_the_same_lesion_on_another_skin() -> None:
    light, dark = lesion((0, 1), 32, 0.8, 0.0), lesion((0, 1), 32, 0.8, 1.0)
    assert dark.mean() < 0.6 * light.mean()
    assert np.corrcoef(light[0].ravel(), dark[0].ravel())[0, 1] > 0.9
    inked = lesion((0, 1), 32, 0.8, 0.0, True)
    changed = np.abs(inked - light).max(0) > 0.05
    assert 0 < changed.mean() < 0.1
    assert np.array_equal(lesion((0, 1), 32, 0.8), light)


def test_a_long_tail_has_its_frequencies_and_lacks_the_positives_that_it_should() -> None:
    data = LesionStructures(2000, 100, 1000, deleted=0.3)
    have, known = data.counts("test")
    assert have == [max(2, round(1000 * 0.35 * 0.62**k)) for k in range(12)]
    assert known == [1000] * 12
    full, _ = LesionStructures(2000, 100, 1000, deleted=0.0).counts("train")
    noted, _ = data.counts("train")
    assert noted == [n - round(0.3 * n) for n in full]


def test_order_by_group_and_class_draws_each_pair_alike() -> None:
    items = LesionPhantoms(400, 10, 10, dark=0.1, prevalence=0.1, missing=0.1).cases.parts["train"]
    for order, cells in (("class", 2), ("group", 2), ("group-class", 4)):
        members = cells_of(items, order, None)  # type: ignore[arg-type]
        assert len(members) == cells
        drawn = [i for batch in drawn_batches(members, 4000, 16, 0, 0) for i in batch]
        share = [sum(i in set(cell) for i in drawn) / len(drawn) for cell in members]
        assert share == pytest.approx([1 / cells] * cells, abs=0.03)
        if order != "class":
            assert all(items[i].groups["skin"] >= 0 for i in drawn)
    assert drawn_batches([[0, 1], [2]], 10, 4, 3, 1) == drawn_batches([[0, 1], [2]], 10, 4, 3, 1)
    assert drawn_batches([[0, 1], [2]], 10, 4, 3, 1) != drawn_batches([[0, 1], [2]], 10, 4, 3, 2)
    assert [len(b) for b in drawn_batches([[0], [1]], 3, 8, 0, 0)] == [3]


def test_an_order_by_an_attribute_that_is_not_there_costs_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^--data\.order: expected"):
        LesionPhantoms(order="sex")
    items = LesionPhantoms(8, 4, 4, conflict=0.1).cases.parts["train"]
    with pytest.raises(ConfigError, match=r"--data\.order_by: expected .*\(skin, ink\), got None"):
        cells_of(items, "group", None)
    with pytest.raises(ConfigError, match=r"--data\.dark: expected 0 to 1, got 2"):
        LesionPhantoms(dark=2)
