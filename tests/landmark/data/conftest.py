"""Small data sets in the layouts of the real ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Maker = Callable[..., Path]


def picture(path: Path, width: int, height: int, seed: int) -> None:
    """Write a smooth grey picture that differs from seed to seed."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 6), dtype=np.uint8))
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(path)


def ratios(seed: int, count: int = 6) -> np.ndarray:
    """Draw points within an image as parts of its width and height, on a grid of 1/1000."""
    return np.random.default_rng(1000 + seed).integers(100, 900, (count, 2)) / 1000


@pytest.fixture
def chest(tmp_path: Path) -> Maker:
    """Make `pngs/` and `labels/` with two images a patient in `metadata.csv` where asked for."""

    def make(
        count: int = 20, root: Path = tmp_path / "chest", patients: bool = False, names: Sequence[str] = ()
    ) -> Path:
        names = list(names) or [f"p{i:03d}" for i in range(count)]
        for i, name in enumerate(names):
            picture(root / "pngs" / f"{name}.png", 40 + i % 3, 30 + i % 5, i)
            rows = "\n".join(f"{x:.6f} {y:.6f}" for x, y in ratios(i))
            (root / "labels").mkdir(exist_ok=True)
            (root / "labels" / f"{name}.txt").write_text(f"6\n{rows}\n")
        if patients:
            lines = "\n".join(f"{name},{i // 2}" for i, name in enumerate(names))
            (root / "metadata.csv").write_text(f"name,patient\n{lines}\n")
        return root

    return make


@pytest.fixture
def head(tmp_path: Path) -> Maker:
    """Make ISBI 2015 images and labels, the senior 4 pixels right of and 2 below the junior."""

    def make(images: dict[str, Sequence[int]], labels: dict[str, str], root: Path = tmp_path / "head") -> Path:
        numbers = [number for part in images.values() for number in part]
        for folder, part in images.items():
            for number in part:
                picture(root / folder / f"{number:03d}.bmp", 60, 80, number)
        for kind, folder in labels.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for number in numbers:
                points = (ratios(number, 19) * (50, 70)).round() + ((4, 2) if kind == "senior" else (0, 0))
                rows = "".join(f"{x:.0f},{y:.0f}\n" for x, y in points)
                tail = "0.1,0.1\n" if kind == "merged" else "1\n2\n1\n1\n3\n1\n2\n1\n"
                (root / folder / f"{number:03d}.txt").write_text(rows + tail)
        return root

    return make


@pytest.fixture
def hand(tmp_path: Path) -> Maker:
    """Make `jpg/` and a headless `all.csv` whose wrists are 10 (0-4) and 8 (1-5) pixels wide."""

    def make(count: int = 20, root: Path = tmp_path / "hand", size: tuple[int, int] = (40, 60)) -> Path:
        root.mkdir(parents=True)
        lines = []
        for i in range(count):
            name = str(3142 + i)
            picture(root / "jpg" / f"{name}.jpg", *size, i)
            points = ratios(i, 37) * size
            points[[0, 4, 1, 5]] = ((10, 50), (20, 50), (11, 40), (19, 40))
            lines.append(",".join([name, *(f"{value:.2f}" for value in points.ravel())]))
        (root / "all.csv").write_text("\n".join(lines) + "\n")
        return root

    return make


@pytest.fixture
def jsrt(tmp_path: Path) -> Maker:
    """Make `imgs/` and SCR contours whose points count on from (100.5, 200.25) right and (600.5, 700.25) left."""

    def make(names: Sequence[str], root: Path = tmp_path / "jsrt", side: int = 64) -> Path:
        (root / "labels").mkdir(parents=True)
        for i, name in enumerate(names):
            picture(root / "imgs" / f"{name}.png", side, side, i)
            text = "[contours]\n"
            for title, count, start in (("heart", 26, 400), ("right lung", 44, 100), ("left lung", 50, 600)):
                rows = ",\n".join(f"{{ {start + k}.5 , {start + 100 + k}.25 }}" for k in range(count))
                text += f'{{"{title}",\n{count},\n{rows}\n}},\n'
            (root / "labels" / f"{name}.pfs").write_text(text)
        return root

    return make


@pytest.fixture
def plain(tmp_path: Path) -> Callable[[str, int], Path]:
    """Make a folder of images `a0 … ` of 50 × 40 pixels and a `landmarks.csv` of the given text."""

    def make(table: str | None, count: int = 6, root: Path = tmp_path / "plain") -> Path:
        for i in range(count):
            picture(root / f"a{i}.png", 50, 40, i)
        if table is not None:
            (root / "landmarks.csv").write_text(table)
        return root

    return make


@pytest.fixture
def real_chests(shared_data: Path) -> Path:
    """Return the folder of 80 real radiographs, which is not part of the project."""
    return shared_data / "chest_lungs"


@pytest.fixture
def leg(tmp_path: Path) -> Maker:
    """Make BMPLE folders: copies of 48 × 96 pixels of 480 × 960 radiographs with 0.2 mm along y and 0.1 along x."""

    def make(root: Path = tmp_path / "leg", **folders: Sequence[int]) -> Path:
        for folder, numbers in (folders or {"train": [2, 10, 118], "test": [1, 2]}).items():
            for number in numbers:
                picture(root / folder / f"{number}_384.png", 48, 96, number + (1000 if folder != "train" else 0))
                points = [[100.0 + i, 200.0 + 2 * i] for i in range(25)]
                meta = {"gt": points, "original_shape": [960, 480], "spacing": [0.2, 0.1]}
                (root / folder / f"{number}_meta.json").write_text(json.dumps(meta))
        return root

    return make
