"""Harvard-FairSeg: fundus images with rim and cup, and who they are of, an archive of arrays an image."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medzoo.core.data.files import existing_root
from medzoo.core.data.options import DataOptions, Unpack
from medzoo.core.data.splits import drawn_parts, split_by_fraction
from medzoo.core.errors import DataError, check_choice
from medzoo.core.io.listing import files_in
from medzoo.core.io.types import check_plain
from medzoo.core.segmenter.data.module import Drawn, MaskDataModule, MaskItem

IMAGES, MASKS = ("slo_fundus", "fundus_slo", "fundus"), ("disc_cup_mask", "disc_cup", "disc_cup_borders")
"""What image and mask are called: in the data set's text, in its training code, and in another's preparation."""
GROUPS: dict[str, tuple[str, ...]] = {
    "gender": ("female", "male"),
    "race": ("asian", "black", "white"),
    "ethnicity": ("0", "1"),
    "language": ("english", "spanish", "other"),
    "maritalstatus": ("0", "1", "2", "3", "4"),
    "age": ("below 60", "60 and above"),
}
_MOST = 2**28
"""Bytes that an archive may unpack to."""


class FairSeg(MaskDataModule):
    """Harvard-FairSeg: `data_#####.npz` with a fundus image, its mask (−1 rim, −2 cup) and six attributes.

    Each image is of a patient of its own. An attribute of −1, or of another number than its values have, is unknown.

    Args:
        root: Folder of the archives.
        structure: `disc` (rim and cup) or `cup`.
        val_fraction: Part of the images for validation.
        test_fraction: Part of the images for the test.
        all_test: Test on all images that would be split, and train on none: an external cohort. A part that the data
            name stays as it is.
        common: Options of all data modules.
    """

    source: str = "fairseg"
    group_names: Mapping[str, tuple[str, ...]] = GROUPS

    def __init__(
        self,
        root: str,
        structure: Literal["disc", "cup"] = "disc",
        val_fraction: float = 0.15,
        test_fraction: float = 0.2,
        all_test: bool = False,
        **common: Unpack[DataOptions],
    ) -> None:
        super().__init__(**common)
        check_choice("data.structure", structure, ("disc", "cup"))
        self.root, self._levels = Path(root), (1, 2) if structure == "disc" else (2,)
        self._fractions = drawn_parts(test_fraction, val_fraction, all_test)

    def make_parts(self) -> dict[str, tuple[MaskItem, ...]]:
        """List the archives and read their attributes; no image is unpacked."""
        files = files_in(existing_root(self.root, "data_#####.npz"), (".npz",))
        if not files:
            raise DataError(self.root, "has no archive data_#####.npz", "give the folder of the data set")
        items = {}
        for path in files:
            name = path.name.removesuffix(path.suffix)
            groups = {key: group_of(key, value) for key, value in _arrays(path, tuple(GROUPS)).items()}
            items[name] = MaskItem(name, partial(_read, path, self._levels), name, groups, str(path))
        split = split_by_fraction(list(items), {}, *self._fractions, self.seed)
        return {part: tuple(items[name] for name in getattr(split, part)) for part in ("train", "val", "test")}


def group_of(attribute: str, value: NDArray[np.generic]) -> int:
    """Return the number of a group, −1 where it is unknown; age becomes below 60 (0), and 60 and above (1)."""
    number = float(np.asarray(value, dtype=np.float64).reshape(-1)[0])
    if attribute == "age":
        return -1 if not number >= 0 else int(number >= 60)
    return int(number) if number in range(len(GROUPS[attribute])) else -1


def _read(path: Path, levels: tuple[int, ...]) -> Drawn:
    arrays = _arrays(path, (*IMAGES, *MASKS))
    image, mask = (next((arrays[n] for n in names if n in arrays), None) for names in (IMAGES, MASKS))
    if image is None or mask is None:
        raise DataError(path, f"has no array among {', '.join((*IMAGES, *MASKS))}", "give archives of FairSeg")
    if image.ndim == 3 and image.shape[-1] == 3:
        image = image.mean(-1)
    if image.ndim != 2 or image.shape != mask.shape or not 0 <= float(image.min()) <= float(image.max()) <= 255:
        problem = f"has an image {image.shape} and a mask {mask.shape}, expected grey levels to 255 and one size"
        raise DataError(path, problem, "give archives of FairSeg")
    return image.astype(np.float32) / np.float32(255), np.isin(np.abs(mask), levels)


def _arrays(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[np.generic]]:
    """Return those of the named arrays that an archive has; nothing in it is run.

    Raises:
        DataError: It is damaged, or unpacks to more than images need.
    """
    check_plain(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            size = sum(record.file_size for record in archive.zip.infolist())
            if size > _MOST:
                raise DataError(path, f"unpacks to {size} bytes, more than {_MOST}", "give archives of FairSeg")
            return {name: archive[name] for name in names if name in archive.files}
    except DataError:
        raise
    except Exception as error:  # whatever the bytes of a damaged archive lead to
        raise DataError(path, f"cannot be read ({type(error).__name__})", "download it again") from error


def make_fake(root: Path, count: int = 12, names: tuple[str, str] = (IMAGES[0], MASKS[0])) -> Path:
    """Write made-up archives in the layout of FairSeg, to try things without the data.

    Args:
        root: Folder, which is made.
        count: Number of archives.
        names: What image and mask are called.
    """
    root.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:32, :32] - 15.5
    for i in range(count):
        rng = np.random.default_rng((17, i))
        distance = np.hypot(y - rng.uniform(-4, 4), x - rng.uniform(-4, 4))
        mask = -(distance < 9).astype(np.int8) - (distance < 4 + i % 3)
        image = np.clip(90 - 40.0 * mask + rng.normal(0, 8, mask.shape), 0, 255).astype(np.uint8)
        facts: dict[str, int] = {
            "gender": i % 2,
            "race": i % 3,
            "ethnicity": i % 3 - 1,
            "language": -1,
            "maritalstatus": i % 5,
        }
        arrays = {names[0]: image, names[1]: mask, "age": np.float64(45 + 5 * i), **facts}
        np.savez(root / f"data_{i + 1:05}.npz", allow_pickle=False, **{k: np.asarray(v) for k, v in arrays.items()})
    return root
