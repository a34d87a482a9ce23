"""COVID-19-CT-Seg: ten Coronacases in Hounsfield units and ten Radiopaedia volumes stored as a window 0…255."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from medzoo.anomaly.data.cases import Cases
from medzoo.anomaly.data.nifti import NiftiVolumes, nifti_files, same_name, stem
from medzoo.anomaly.data.volumes import VolumeOptions
from medzoo.core.data.options import Unpack
from medzoo.core.errors import DataError


class CovidCt(NiftiVolumes):
    """The 20 volumes of COVID-19-CT-Seg as test set, healthy volumes of one's own (such as LUNA16) to train on.

    Expects `COVID-19-CT-Seg_20cases/`, `Infection_Mask/` and, if wanted, `Lung_Mask/` in `root`. Whether a volume is in
    Hounsfield units is found from its values, file by file. The `kind` of results is `coronacases` or `radiopaedia`.

    Args:
        root: Folder of the data set.
        healthy: Folder of healthy chest CT volumes in NIfTI; empty: only testing is possible.
        healthy_organ: Folder of their lung masks, under the same names.
        val: Healthy volumes that are kept for choosing the threshold.
        common: Options of all CT data.
    """

    def __init__(
        self,
        root: str,
        healthy: str | None = None,
        healthy_organ: str | None = None,
        val: int = 4,
        **common: Unpack[VolumeOptions],
    ) -> None:
        super().__init__(root, "auto", val, **common)
        self._healthy = Path(healthy) if healthy else None
        self._healthy_organ = Path(healthy_organ) if healthy_organ else None

    def make_cases(self) -> Cases:
        """Look at the folders."""
        images = self._root / "COVID-19-CT-Seg_20cases"
        masks, organs = self._root / "Infection_Mask", self._root / "Lung_Mask"
        for folder in (images, masks):
            if not folder.is_dir():
                raise DataError(folder, "is no folder", "unpack COVID-19-CT-Seg there (zenodo.org/records/3757476)")
        tested = []
        for path in nifti_files(images):
            mask = same_name(masks, path)
            if mask is None:
                raise DataError(path, f"has no mask in {masks.name}", "unpack Infection_Mask completely")
            case = self.case(path, mask, same_name(organs, path))
            half = re.split(r"[_\d]", stem(path))[0].lower()
            tested.append(replace(case, kind=half, patient=_patient(stem(path))))
        known = []
        if self._healthy is not None:
            if not self._healthy.is_dir():
                raise DataError(self._healthy, "is no folder", "give a folder of healthy volumes")
            organ = self._healthy_organ
            known = [
                self.case(path, None, same_name(organ, path) if organ else None) for path in nifti_files(self._healthy)
            ]
        return self.split(known, tested)


def _patient(name: str) -> str:
    """Return the case that a volume belongs to: Radiopaedia names are `radiopaedia_<case>_<study>_<series>`."""
    parts = name.split("_")
    return "_".join(parts[:2]) if parts[0] == "radiopaedia" else name
