"""Checkpoints that never execute code and are never half written."""

from __future__ import annotations

import errno
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from medzoo.core.errors import CheckpointError
from medzoo.core.io import replacing
from medzoo.core.runs.packed import is_packed, read_packed
from medzoo.core.runs.schema import check
from medzoo.core.torch_files import load_data

if TYPE_CHECKING:
    from torch.serialization import MAP_LOCATION


def read_checkpoint(path: str | Path, map_location: MAP_LOCATION = "cpu") -> dict[str, object]:
    """Load a checkpoint, or a folder of packed weights, as data only, and check that every field is what it must be.

    Raises:
        CheckpointError: The file is missing, remote, damaged, compressed, or holds anything but tensors and plain
            values in the places where Lightning and medzoo write them. Where it lies in the folder of a run, the
            message names the checkpoints beside it that are whole.
    """
    if "://" in str(path):
        raise CheckpointError(f"{path}: a checkpoint is read from a local file only; download it first")
    if is_packed(path):
        packed = read_packed(Path(path), map_location)
        check(path, packed)
        return packed
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: no such checkpoint file")
    try:
        return _read(Path(path), map_location)
    except CheckpointError as error:
        raise CheckpointError(f"{error}{_others(Path(path))}") from error


def _read(path: Path, map_location: MAP_LOCATION) -> dict[str, object]:
    loaded = load_data(path, map_location)
    if not isinstance(loaded, dict) or "state_dict" not in loaded:
        raise CheckpointError(f"{path}: not a checkpoint of a Lightning module (it has no 'state_dict')")
    check(path, loaded)
    return loaded


def _others(path: Path) -> str:
    """Return a clause about the whole checkpoints beside one of a run that is not."""
    if path.parent.name != "checkpoints":
        return ""
    whole = []
    for other in sorted(path.parent.glob("*.ckpt"))[:8]:
        with suppress(CheckpointError):
            if not other.samefile(path):
                _read(other, "cpu")
                whole.append(str(other))
    return f"; whole beside it: {', '.join(whole)} (copy it to {path.name} to go on from there)" if whole else ""


class SafeCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint reader and writer with safe loading and whole files."""

    def load_checkpoint(
        self, path: str | Path, map_location: MAP_LOCATION = "cpu", weights_only: bool | None = None
    ) -> dict[str, object]:
        """Load as data only, whatever `weights_only` says."""
        del weights_only
        return read_checkpoint(path, map_location)

    def save_checkpoint(self, checkpoint: dict[str, object], path: str | Path, storage_options: object = None) -> None:
        """Write beside the target, flush to disk and rename; a full disk leaves the old file as it was."""
        del storage_options
        try:
            with replacing(path, fsync=True) as part:
                torch.save(checkpoint, part)
        except (OSError, RuntimeError) as error:
            # torch reports a failed write of its zip file as a RuntimeError without errno.
            if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            free = shutil.disk_usage(Path(path).parent).free
            if isinstance(error, RuntimeError) and free > 64 * 2**20:
                raise
            raise DiskFullError(
                f"{path}: cannot be written, {free} bytes are free; the file before is intact"
            ) from error


class DiskFullError(CheckpointError):
    """The disk has no room for a checkpoint."""

    exit_code = 1
