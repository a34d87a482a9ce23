"""Names of the leads of electrocardiograms."""

from __future__ import annotations

import re
from collections.abc import Sequence

STANDARD = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""Names and order of the 12 leads."""
_DEVICE = re.compile(r"^((mdc|ecg|ekg|lead)[\s_-]+)+|\s*(\(.*\)|,.*)$", re.I)
"""What devices put before and behind the name of a lead."""


def lead_names(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the names of leads without what devices add, such as `ECG I`, `MDC_ECG_LEAD_II` or `Lead aVR`.

    DICOM's own names are of that kind too: `Lead I (Einthoven)` and `aVR, augmented voltage, right` (PS3.16, CID 3001).
    """
    bare = [_DEVICE.sub("", label.strip()).strip() for label in labels]
    usual = {name.casefold(): name for name in STANDARD}
    return tuple(usual.get(name.casefold(), name) for name in bare)
