"""What a data set of volumes lists: volumes in memory, cases that are read when they are needed, cases by use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Volume:
    """One CT in memory.

    Attributes:
        hu: `(D, H, W)` float32 Hounsfield units.
        organ: `(D, H, W)` bool.
        lesions: `(D, H, W)` integer labels, 0 for none; None where nobody looked.
        spacing: Millimetres per voxel along x, y, z.
        world: `(4, 4)` from voxel `(x, y, z)` to the scanner's millimetres; None counts from the first voxel.
        stored: `(4, 4)` from voxel `(x, y, z)` to that of the file, whose axes may be others; None where they are not.
    """

    hu: NDArray[np.float32]
    organ: NDArray[np.bool_]
    lesions: NDArray[np.uint8] | None
    spacing: tuple[float, float, float]
    world: NDArray[np.float64] | None = None
    stored: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Case:
    """A volume that is read when it is needed.

    Attributes:
        id: Name, unique in the data set.
        patient: Whose volume it is; figures with an interval draw patients.
        load: Reads it.
        path: File of the image; empty for a phantom.
        kind: What lesions it has, where that is known and results are separate for each.
        masks: Files of lesions and organ, which must lie on the image's grid.
    """

    id: str
    patient: str
    load: Callable[[], Volume]
    path: str = ""
    kind: str = ""
    masks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cases:
    """The cases of a data set by use.

    Attributes:
        train: Healthy ones to train on.
        val: Healthy ones to choose a threshold on.
        test: Ones to test, with known lesions.
        predict: Ones to predict; empty: those of the test.
        unlabelled: Ill ones to adapt to, whose masks nobody reads.
    """

    train: tuple[Case, ...] = ()
    val: tuple[Case, ...] = ()
    test: tuple[Case, ...] = ()
    predict: tuple[Case, ...] = ()
    unlabelled: tuple[Case, ...] = ()
