"""Built-in chest CT phantoms: healthy ones to train on, ones with lesions to test on."""

from __future__ import annotations

from functools import partial

from medzoo.anomaly.data.cases import Case, Cases, Volume
from medzoo.anomaly.data.volumes import VolumeDataModule, VolumeOptions
from medzoo.core.data.module import check_drawn
from medzoo.core.data.options import Unpack
from medzoo.core.errors import ConfigError
from medzoo.core.sides import check_area, extents

_LESION_SEED = 10_000  # test patients are others than those of training
_UNLABELLED_SEED = 20_000


class CtPhantoms(VolumeDataModule):
    """Chest CT phantoms; healthy for training and validation, with one kind of lesion each for the test.

    Args:
        train: Healthy volumes to train on.
        val: Healthy volumes to choose the threshold on, after lesions of the training generator were put in.
        test: Volumes with lesions.
        unlabelled: Volumes with lesions of other patients, whose masks nobody reads, for methods that adapt to them.
        size: Voxels along z, y, x, one number for a cube; they cover 220 × 250 × 320 mm.
        voxel_mm: Millimetres per voxel, which takes the place of `size`; 1 to 2 are a scanner's, and take
            one core 45 to 4 s a volume.
        kinds: Lesions of the test volumes, in turn; empty: all that the phantom knows.
        confounders: Healthy lungs have opacities, scars, wide vessels and motion, and scanners differ.
        common: Options of all CT data.
    """

    def __init__(
        self,
        train: int = 24,
        val: int = 3,
        test: int = 10,
        unlabelled: int = 0,
        size: int | list[int] = [56, 64, 80],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        voxel_mm: float | None = None,
        kinds: list[str] | None = None,
        confounders: bool = True,
        **common: Unpack[VolumeOptions],
    ) -> None:
        super().__init__(**common)
        from medzoo.core.phantoms.ct import EXTENT, KINDS

        if voxel_mm is not None:
            if not 0.8 <= voxel_mm <= 12:
                raise ConfigError(f"--data.voxel_mm: expected 0.8 to 12, got {voxel_mm}")
            size = [round(extent / voxel_mm) for extent in EXTENT]
        depth, height, width = extents("data.size", size, 3)
        check_area("data.size", (depth, height, width))
        unknown = sorted(set(kinds or ()) - set(KINDS))
        if unknown:
            raise ConfigError(f"--data.kinds: expected some of {', '.join(KINDS)}; got {unknown[0]}")
        check_drawn(train=train, val=val, test=test, unlabelled=unlabelled)
        self._counts = (train, val, test, unlabelled)
        self._size, self._kinds = (depth, height, width), tuple(kinds or KINDS)
        self._confounders = confounders

    def make_cases(self) -> Cases:
        """Number the patients."""
        train, val, test, unlabelled = self._counts
        base = 100_000 * self.seed
        healthy = [self._case(base + i, ()) for i in range(train + val)]
        ill = self._ill(base + _LESION_SEED, test)
        return Cases(
            tuple(healthy[:train]),
            tuple(healthy[train:]),
            ill,
            unlabelled=self._ill(base + _UNLABELLED_SEED, unlabelled),
        )

    def _ill(self, first: int, count: int) -> tuple[Case, ...]:
        return tuple(self._case(first + i, (self._kinds[i % len(self._kinds)],)) for i in range(count))

    def _case(self, seed: int, kinds: tuple[str, ...]) -> Case:
        name = f"phantom{seed:06d}"
        return Case(
            name, name, partial(_make, seed, self._size, kinds, self._confounders), kind=kinds[0] if kinds else ""
        )


def _make(seed: int, size: tuple[int, int, int], kinds: tuple[str, ...], confounders: bool) -> Volume:
    from medzoo.core.phantoms.ct import lung_ct

    made = lung_ct(seed, size, kinds, confounders)
    return Volume(made.image, made.lungs, made.lesions, made.spacing)
