"""The data module that all CT layouts share: cases, patches to train on, whole volumes to test."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import NotRequired, TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from medzoo.anomaly.data.cases import Case, Cases
from medzoo.anomaly.lesions.draws import gaussian
from medzoo.core.data.loaders import ResumableLoader
from medzoo.core.data.module import Loader, MedzooDataModule
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.sample import MaskSample, Sample

_PATCH = (32, 40, 40)


class _Memory:
    """Keeps volumes as int16 up to a number of bytes, the longest unused given up first."""

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0
        self.kept: OrderedDict[str, tuple[NDArray[np.int16], NDArray[np.bool_], tuple[float, float, float]]] = (
            OrderedDict()
        )

    def volume(self, case: Case) -> tuple[NDArray[np.int16], NDArray[np.bool_], tuple[float, float, float]]:
        if case.id in self.kept:
            self.kept.move_to_end(case.id)
            return self.kept[case.id]
        loaded = case.load()
        entry = (np.rint(loaded.hu).clip(-1024, 32767).astype(np.int16), loaded.organ, loaded.spacing)
        self.kept[case.id] = entry
        self.used += entry[0].nbytes + entry[1].nbytes
        while self.used > self.limit and len(self.kept) > 1:
            _, (image, organ, _) = self.kept.popitem(last=False)
            self.used -= image.nbytes + organ.nbytes
        return entry


class PatchDataset(Dataset[dict[str, object]]):
    """Patches around random voxels of the organ; index with `(index, epoch)`.

    Args:
        cases: Healthy volumes, one a sample.
        size: Of a patch.
        number: Patches of a volume.
        spacing: Millimetres per voxel of the patches; empty: those of the volume.
        seed: Of what is drawn.
        mb: Megabytes for decoded volumes.
        unlabelled: Ill volumes; each sample has as many patches of one of them, under keys that begin with `real`.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        size: tuple[int, int, int],
        number: int,
        spacing: float | None,
        seed: int,
        mb: int,
        unlabelled: Sequence[Case] = (),
    ) -> None:
        self.cases, self.size, self.number, self.spacing, self.seed = cases, size, number, spacing, seed
        self.unlabelled = unlabelled
        self.memory = _Memory(mb * 2**20)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, object]:
        index, epoch = key
        case = self.cases[index]
        rng = np.random.default_rng((self.seed, epoch, index))
        image, organ, spacing = self._cut(case, rng)
        sample: dict[str, object] = {"image": image, "organ": organ, "spacing": spacing}
        if self.unlabelled:
            drawn = self._cut(self.unlabelled[int(rng.integers(len(self.unlabelled)))], rng)
            sample |= dict(zip(("real", "real_organ", "real_spacing"), drawn, strict=True))
        return {**sample, "id": case.id, "path": case.path}

    def _cut(self, case: Case, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return patches and organ `(P, d, h, w)`, and millimetres per voxel along x, y, z."""
        image, organ, spacing = self.memory.volume(case)
        inside = np.flatnonzero(organ)
        # Cut what becomes one patch of the network's spacing, then resample that alone.
        steps = spacing[::-1]  # z, y, x
        scale = [1.0 if self.spacing is None else self.spacing / s for s in steps]
        cut = [max(1, round(n * k)) for n, k in zip(self.size, scale, strict=True)]
        parts = [_crop(image, organ, rng.choice(inside), cut) for _ in range(self.number)]
        images = torch.from_numpy(np.stack([p[0] for p in parts])).float()[:, None]  # (P, 1, d, h, w)
        organs = torch.from_numpy(np.stack([p[1] for p in parts])).float()[:, None]
        network = steps if self.spacing is None else (self.spacing,) * 3
        return (
            _resized(images, self.size)[:, 0],
            _resized(organs, self.size)[:, 0] >= 0.5,
            torch.tensor(network[::-1], dtype=torch.float32),
        )


class VolumeDataset(Dataset[dict[str, object]]):
    """Whole volumes with the keys of `medzoo.core.sample.MaskSample`; index with an integer.

    Further keys: `organ (1, D, H, W)` bool like `image`; `world` and `stored`, `(4, 4)` float64, as those of `Volume`;
    and, where the volume was resampled, `original (1, *S)` and `original_organ (1, *S)` as they were before.
    """

    def __init__(self, cases: Sequence[Case], spacing: float | None) -> None:
        self.cases, self.spacing = cases, spacing
        self.patients = {name: number for number, name in enumerate(sorted({case.patient for case in cases}))}

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> dict[str, object]:
        case = self.cases[index]
        loaded = case.load()
        size = loaded.hu.shape
        to = [
            n if self.spacing is None else max(1, round(n * s / self.spacing))
            for n, s in zip(size, loaded.spacing[::-1], strict=True)
        ]
        scale = np.array([n / o for n, o in zip(to, size, strict=True)])[::-1]  # x, y, z
        affine = np.column_stack([np.diag(scale), 0.5 * scale - 0.5])
        sample: dict[str, object] = {
            "image": _resized(torch.from_numpy(loaded.hu)[None, None], to)[0],  # (1, D, H, W)
            "organ": _resized(torch.from_numpy(loaded.organ)[None, None].float(), to)[0] >= 0.5
            if tuple(to) != size
            else torch.from_numpy(loaded.organ)[None],
            "spacing": torch.tensor(loaded.spacing, dtype=torch.float32),
            "affine": torch.from_numpy(affine),
            "original_size": torch.tensor(size[::-1]),
            "id": case.id,
            "path": case.path,
            "source": "",
            "domain": 0,
            "patient": case.patient,
            "number": self.patients[case.patient],
            "kind": case.kind,
        }
        sample["world"] = torch.from_numpy(np.diag([*loaded.spacing, 1.0]) if loaded.world is None else loaded.world)
        sample["stored"] = torch.from_numpy(np.eye(4) if loaded.stored is None else loaded.stored)
        if tuple(to) != size:
            sample["original"] = torch.from_numpy(loaded.hu)[None]
            sample["original_organ"] = torch.from_numpy(loaded.organ)[None]
        if loaded.lesions is not None:
            sample["mask"] = torch.from_numpy(loaded.lesions.astype(np.int64))
        return sample


class PatchSample(Sample):
    """Patches of one healthy volume to train on, and of an ill one where there are any; never a mask of lesions."""

    image: Tensor
    """`(P, D, H, W)` float32 HU."""
    organ: Tensor
    """`(P, D, H, W)` bool."""
    spacing: Tensor
    """`(3,)` float32, mm per voxel of the patches along x, y, z."""
    real: NotRequired[Tensor]
    """`(P, D, H, W)` float32 HU of an unlabelled volume that may hold lesions."""
    real_organ: NotRequired[Tensor]
    """`(P, D, H, W)` bool."""
    real_spacing: NotRequired[Tensor]
    """`(3,)` float32."""


class VolumeSample(MaskSample):
    """One whole volume."""

    organ: Tensor
    """`(1, D, H, W)` bool, like `image`."""
    number: int
    """Number of the patient in the data set, which seeds what a validation draws."""
    original: NotRequired[Tensor]
    """`(1, *S)` float32 HU as they were before resampling, where the volume was."""
    original_organ: NotRequired[Tensor]
    """`(1, *S)` bool."""


class VolumeOptions(TypedDict, total=False):
    """Options of `VolumeDataModule`."""

    spacing: float | None
    batch_size: int | None
    patches: int
    num_workers: int
    seed: int
    cache_mb: int


class VolumeDataModule(MedzooDataModule):
    """Base of the CT data modules: subclasses list the cases, everything else is here.

    Training batches hold `image (B, P, D, H, W)` in HU, `organ` and `spacing` (mm per voxel of the patch along x, y, z)
    and never a lesion mask; evaluation batches hold one whole volume.

    Args:
        spacing: Millimetres per voxel that the network sees; empty leaves volumes as they are.
        batch_size: Volumes that a training batch takes patches from; empty: what the model asks for.
        patches: Patches of each of them.
        num_workers: Processes that load volumes; results do not depend on their number.
        seed: Seed of splits, order and patches.
        cache_mb: Megabytes for decoded training volumes.
    """

    sample = VolumeSample
    train_sample = PatchSample
    batch = 2

    def __init__(
        self,
        spacing: float | None = None,
        batch_size: int | None = None,
        patches: int = 1,
        num_workers: int = 0,
        seed: int = 0,
        cache_mb: int = 2048,
    ) -> None:
        super().__init__(None, batch_size, num_workers, seed)
        for option, value in (("patches", patches), ("spacing", spacing)):
            if value is not None and not value > 0:
                raise ConfigError(f"--data.{option}: expected more than 0, got {value}")
        self._spacing, self._patches, self._cache_mb = spacing, patches, cache_mb

    @abstractmethod
    def make_cases(self) -> Cases:
        """List the cases without reading a voxel.

        Raises:
            DataError: A folder is missing or has another layout.
        """

    @cached_property
    def cases(self) -> Cases:
        """The cases; folders are looked at when this is first asked for."""
        return self.make_cases()

    def check(self, stage: str | None = None) -> list[DataError]:
        """Look over headers."""
        try:
            cases = self.cases
        except DataError as error:
            return [error]
        used = {
            "fit": (*cases.train, *cases.val, *cases.unlabelled),
            "validate": cases.val,
            "test": cases.test,
            "predict": cases.predict or cases.test,
        }.get(stage or "", (*cases.train, *cases.val, *cases.unlabelled, *cases.test, *cases.predict))
        return [fault for case in dict.fromkeys(used) for fault in self.faults(case)]

    def faults(self, case: Case) -> list[DataError]:
        """Return the faults of the files of a case; a phantom has none."""
        del case
        return []

    def train_dataloader(self) -> ResumableLoader:
        """Load patches of healthy volumes, whose order and place depend on seed and epoch alone."""
        if not self.cases.train:
            raise ConfigError("there are no training volumes; give healthy ones")
        patch = self.wants.size or _PATCH
        if len(patch) != 3:
            raise ConfigError(f"--model: this data holds volumes, but the model takes images of size {tuple(patch)}")
        return self.train_loader(
            PatchDataset(
                self.cases.train, patch, self._patches, self._spacing, self.seed, self._cache_mb, self.cases.unlabelled
            )
        )

    def val_dataloader(self) -> Loader:
        """Load the healthy validation volumes whole."""
        return self._whole(self.cases.val)

    def test_dataloader(self) -> Loader:
        """Load the test volumes whole, with masks."""
        return self._whole(self.cases.test)

    def predict_dataloader(self) -> Loader:
        """Load the volumes to predict."""
        return self._whole(self.cases.predict or self.cases.test)

    def _whole(self, cases: Sequence[Case]) -> Loader:
        return self.evaluation_loader(VolumeDataset(cases, self._spacing), batch_size=1) if cases else []


def _crop(
    image: NDArray[np.int16], organ: NDArray[np.bool_], voxel: int, size: Sequence[int]
) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """Cut a box around a voxel, moved inwards at the border and padded with air where the volume is smaller."""
    at = np.unravel_index(int(voxel), organ.shape)
    cut = []
    for centre, extent, limit in zip(at, size, organ.shape, strict=True):
        start = int(np.clip(centre - extent // 2, 0, max(0, limit - extent)))
        cut.append(slice(start, min(limit, start + extent)))
    part, mask = image[tuple(cut)], organ[tuple(cut)]
    if part.shape == tuple(size):
        return part, mask
    fill = [(0, n - have) for n, have in zip(size, part.shape, strict=True)]
    return np.pad(part, fill, constant_values=-1024), np.pad(mask, fill)


def _resized(volumes: Tensor, size: Sequence[int]) -> Tensor:
    """Resample `(B, 1, D, H, W)`; what shrinks is averaged first, so that thin structures stay."""
    have = volumes.shape[2:]
    if tuple(have) == tuple(size):
        return volumes
    # Blurring before sampling keeps the rule x' = (x + 0.5) s − 0.5, which pooling by whole cells would break.
    sigma = [0.5 * max(0.0, (h / n) ** 2 - 1) ** 0.5 for h, n in zip(have, size, strict=True)]
    volumes = gaussian(volumes, [0.0, 0.0, *sigma])
    return F.interpolate(volumes, tuple(size), mode="trilinear", align_corners=False)
