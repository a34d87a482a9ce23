"""Files that torch.save wrote, read as data only and within the bytes that they have."""

from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from medzoo.core.errors import CheckpointError

if TYPE_CHECKING:
    from torch.serialization import MAP_LOCATION


def load_data(path: Path, map_location: MAP_LOCATION = "cpu") -> object:
    """Return the tensors and plain values of a file; nothing that it names is run.

    Raises:
        CheckpointError: It is damaged, its records are compressed, or it holds anything else.
    """
    _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice about archives that are refused anyway
            return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # the unpickler raises whatever the bytes lead to
        blocked = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it wants to run {blocked[1]}" if blocked else "it is damaged or no checkpoint"
        raise CheckpointError(f"{path}: refused: {reason}; medzoo loads tensors and plain values only") from error


def has_its_data(value: Tensor) -> bool:
    """Return whether a tensor has bytes for all of its values: an expanded one may claim any size."""
    plain = value.layout == torch.strided and not value.is_meta and not value.is_quantized
    return plain and value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _check_archive(path: Path) -> None:
    """Refuse an archive that would need more memory than its file has bytes, or whose bytes were changed."""
    try:
        if not zipfile.is_zipfile(path):  # it raises too, over some directories
            return  # torch's format of old, or no checkpoint
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            plain = all(record.compress_type == zipfile.ZIP_STORED for record in records)
            declared = sum(record.file_size for record in records)
            if plain and declared <= path.stat().st_size and archive.testzip() is None:
                return
    except Exception as error:  # zipfile raises half a dozen types over damaged directories
        raise CheckpointError(
            f"{path}: refused: it is damaged or no checkpoint; medzoo loads tensors and plain values only"
        ) from error
    if plain and declared <= path.stat().st_size:
        raise CheckpointError(f"{path}: refused: it is damaged (a checksum does not match); copy the file anew")
    raise CheckpointError(
        f"{path}: refused: its records are compressed to less than their {declared} bytes; torch.save stores them whole"
    )
