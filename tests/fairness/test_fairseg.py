"""Harvard-FairSeg on a made-up copy of its layout: the contract, and the traps of its attributes and names."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from medzoo.core.errors import DataError
from medzoo.core.testing import DataModuleContract
from medzoo.fairness.data.fairseg import IMAGES, MASKS, FairSeg, group_of, make_fake


class TestFairSeg(DataModuleContract):
    name: ClassVar[str] = "fairseg"
    damaged: ClassVar[str] = "data_00003.npz"

    @pytest.fixture
    def options(self, tmp_path: Path) -> dict[str, object]:
        return {"root": str(make_fake(tmp_path / "data")), "test_fraction": 0.3}


def items_of(data: FairSeg) -> dict[str, dict[str, int]]:
    return {item.id: dict(item.groups) for items in data.parts.values() for item in items}


def test_unknown_attributes_are_in_no_group(tmp_path: Path) -> None:
    found = items_of(FairSeg(str(make_fake(tmp_path))))
    assert [found[f"data_{i + 1:05}"]["ethnicity"] for i in range(3)] == [-1, 0, 1]
    assert all(groups["language"] == -1 for groups in found.values())
    assert [found[f"data_{i + 1:05}"]["age"] for i in (0, 2, 3)] == [0, 0, 1]  # 45, 55, 60
    assert group_of("race", np.array(3)) == group_of("age", np.array(-1.0)) == group_of("age", np.array(np.nan)) == -1
    assert group_of("gender", np.array([1])) == 1


@pytest.mark.parametrize("names", list(zip(IMAGES, MASKS, strict=True)))
def test_all_three_names_are_read_and_the_cup_is_part_of_the_disc(tmp_path: Path, names: tuple[str, str]) -> None:
    root = str(make_fake(tmp_path, 6, names))
    for disc, cup in zip(FairSeg(root).parts["train"], FairSeg(root, structure="cup").parts["train"], strict=True):
        (image, whole), (same, inner) = disc.load(), cup.load()
        assert np.array_equal(image, same)
        assert image.max() <= 1
        assert (whole & inner == inner).all()
        assert 0 < inner.sum() < whole.sum()
        assert image[inner].mean() > image[~whole].mean()


def test_what_is_no_archive_of_the_data_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no archive"):
        FairSeg(str(tmp_path)).make_parts()
    np.savez(tmp_path / "data_00001.npz", fundus=np.zeros((4, 4)), disc_cup=np.zeros((5, 4)), gender=0)
    (item,) = FairSeg(str(tmp_path)).parts["train"]
    with pytest.raises(DataError, match=r"expected grey levels to 255 and one size"):
        item.load()
    np.savez(tmp_path / "data_00001.npz", gender=np.array([{"run": 1}], dtype=object))
    with pytest.raises(DataError, match=r"cannot be read \(ValueError\)"):
        FairSeg(str(tmp_path)).make_parts()
