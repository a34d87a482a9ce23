"""Built-in pictures of ten surfaces and parts, perfect or with a defect."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from medzoo.anomaly.data.categories import CategoryDataModule, CategoryOptions
from medzoo.anomaly.data.items import Category, Item
from medzoo.core.data.module import check_drawn
from medzoo.core.data.options import Unpack
from medzoo.core.errors import ConfigError
from medzoo.core.sides import check_area, sides

_TEST_SEED = 5000


class TexturePhantoms(CategoryDataModule):
    """Ten procedural categories; by default the last three (gear, screw, blister) are tested, the others learnt from.

    Args:
        train: Perfect pictures of each category.
        test: Pictures of each category to test, half of them with a defect.
        pixels: Height and width that pictures are made at, 16 to 4096.
        pose: How far pictures of a category differ in pose: still; near, up to 12°; or free, at any angle.
        common: Options of all image data.
    """

    def __init__(
        self, train: int = 24, test: int = 32, pixels: int = 128, pose: str = "near", **common: Unpack[CategoryOptions]
    ) -> None:
        super().__init__(**common)
        from medzoo.core.phantoms.textures import POSES

        if pose not in POSES:
            raise ConfigError(f"--data.pose: expected one of {', '.join(POSES)}; got {pose}")
        check_drawn(train=train, test=test)
        check_area("data.pixels", sides("data.pixels", pixels))
        self._train, self._test, self._pixels, self._pose = train, test, pixels, pose

    def make_categories(self) -> tuple[Category, ...]:
        """Number the pictures."""
        from medzoo.core.phantoms.textures import CATEGORIES, DEFECTS

        base = 100_000 * self.seed
        found = []
        for name in CATEGORIES:
            train = tuple(self._item(name, base + i, "") for i in range(self._train))
            kinds = [DEFECTS[i // 2 % len(DEFECTS)] if i % 2 else "" for i in range(self._test)]
            test = tuple(self._item(name, base + _TEST_SEED + i, kind) for i, kind in enumerate(kinds))
            found.append(Category(name, train, test, number=sum(map(ord, name))))
        return tuple(found)

    def _item(self, category: str, seed: int, defect: str) -> Item:
        make = partial(_picture, category, seed, self._pixels, defect, self._pose)
        return Item(
            f"{category}{seed:06d}",
            make,
            int(bool(defect)),
            partial(_mask, category, seed, self._pixels, defect, self._pose) if defect else None,
            kind=defect,
        )


def _picture(category: str, seed: int, pixels: int, defect: str, pose: str) -> NDArray[np.float32]:
    from medzoo.core.phantoms.textures import POSES, textured

    return textured(category, seed, (pixels, pixels), defect, POSES[pose]).image


def _mask(category: str, seed: int, pixels: int, defect: str, pose: str) -> NDArray[np.bool_]:
    from medzoo.core.phantoms.textures import POSES, textured

    return textured(category, seed, (pixels, pixels), defect, POSES[pose]).mask
