"""A signal in the middle of reading an image ends as that signal, whichever library is at work: no «damaged file»."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset

_PATIENCE = 10.0
"""Seconds until a signal is sent again: CPython loses one that comes while it words the message of a `ValueError`."""
_READ_ON = """
import signal, sys
from medzoo.core.errors import Interrupted
from medzoo.core.io import read_image
def stop(signum, frame):
    raise Interrupted(signum, "asked")
for signum in (signal.SIGTERM, signal.SIGINT) if sys.argv[2] == "run" else ():
    signal.signal(signum, stop)
read_image(sys.argv[1])
print("reading", flush=True)
try:
    while True:
        read_image(sys.argv[1])
except Interrupted as interrupted:
    sys.exit(interrupted.exit_code)
"""


def image_of(kind: str, folder: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 4000, (700, 700)).astype(np.uint16)
    path = folder / {"raster": "a.png", "dicom": "a.dcm", "nifti": "a.nii.gz"}[kind]
    if kind == "raster":
        Image.fromarray(values).save(path)
    elif kind == "nifti":
        nibabel.save(nibabel.Nifti1Image(values[..., None].astype(np.int16), np.eye(4)), path)
    else:
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
        meta.MediaStorageSOPInstanceUID = "1.2.3"
        data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID, data.Modality = meta.MediaStorageSOPClassUID, "1.2.3", "DX"
        data.Rows, data.Columns, data.SamplesPerPixel = *values.shape, 1
        data.PhotometricInterpretation, data.PixelRepresentation = "MONOCHROME2", 0
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
        data.PixelData = values.tobytes()
        data.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("kind", ["raster", "dicom", "nifti"])
def test_a_signal_while_an_image_is_read_stays_a_signal(kind: str, tmp_path: Path) -> None:
    path = image_of(kind, tmp_path)
    rng = np.random.default_rng(1)
    # In a run a signal is an `Interrupted`; in `check` and `select` it does what the system has it do.
    for place, signum, code in (
        ("run", signal.SIGTERM, 143),
        ("run", signal.SIGINT, 130),
        ("check", signal.SIGTERM, -signal.SIGTERM),
        ("check", signal.SIGINT, -signal.SIGINT),
    ):
        reader = subprocess.Popen(
            [sys.executable, "-c", _READ_ON, str(path), place],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "reading\n"
            time.sleep(float(rng.random()) * 0.05)
            os.kill(reader.pid, signum)
            try:
                _, told = reader.communicate(timeout=_PATIENCE)
            except subprocess.TimeoutExpired:
                os.kill(reader.pid, signum)
                _, told = reader.communicate(timeout=_PATIENCE)
        finally:
            reader.kill()
        assert reader.returncode == code, told
        assert "DataError" not in told
