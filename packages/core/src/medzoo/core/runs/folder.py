"""Run folders: `runs/<model>/<data>/<n>`, numbered so that no run overwrites another."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from medzoo.core.distributed import is_first_process
from medzoo.core.errors import ConfigError

_CHOSEN = "MEDZOO_CHOSEN_RUN_DIR"
"""Set for the processes that a distributed run starts, so that all of them use the folder of the first."""
_ATTEMPTS = 50


def new_run_folder(model: str, data: str, root: Path = Path("runs")) -> Path:
    """Make the next free folder `root/model/data/<n>`; safe against other processes doing the same.

    The processes that a distributed run starts for itself get the folder of the first one.
    """
    if chosen := os.environ.get(_CHOSEN):
        return Path(chosen)
    if not is_first_process():
        raise ConfigError("several processes started from outside need one folder for all: give --run_dir DIR")
    parent = root / model / data
    while True:
        _make(parent)
        # Another process may take the number first, or remove the parents after a run that produced nothing.
        with suppress(FileExistsError, FileNotFoundError):
            number = max((int(p.name) for p in parent.iterdir() if p.name.isdigit()), default=-1) + 1
            (parent / str(number)).mkdir()
            return parent / str(number)


def share_run_folder(folder: Path | None) -> None:
    """Share the run's folder with the processes that this one will start; `None` ends that."""
    os.environ.pop(_CHOSEN, None)
    if folder is not None:
        os.environ[_CHOSEN] = str(folder)


def given_run_folder(path: Path, resume: bool) -> Path:
    """Use the folder that the user names.

    Raises:
        ConfigError: It holds files and the run is not one to resume, or it is no folder.
    """
    _make(path)
    if not resume and is_first_process() and any(not _is_leftover(p) for p in path.iterdir()):
        raise ConfigError(f"--run_dir {path}: is not empty; add --resume to continue that run or name another folder")
    return path


def _make(folder: Path) -> None:
    for left in reversed(range(_ATTEMPTS)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return
        except OSError as error:
            # Another run may remove the folder or a parent as empty, between two of the steps that mkdir takes.
            if not (left and isinstance(error, FileExistsError | FileNotFoundError)):
                problem = f"cannot be made ({error.strerror}); name another with --run_dir DIR"
                raise ConfigError(f"run folder {folder}: {problem}") from error


def newest_run_folder(model: str | None, data: str | None, root: Path = Path("runs")) -> Path:
    """Return the folder of the newest run of `model` on `data` that was trained (of any, where they are `None`).

    Raises:
        ConfigError: There is none.
    """
    found = [
        p
        for p in root.glob(f"{model or '*'}/{data or '*'}/*")
        if p.name.isdigit() and (p / "config.yaml").is_file() and any(p.rglob("last.ckpt"))
    ]
    if not found:
        raise ConfigError(f"nothing to resume under {root / (model or '*') / (data or '*')}; give --run_dir DIR")
    return max(found, key=lambda p: (p / "config.yaml").stat().st_mtime)


def discard(folder: Path, numbered: bool) -> None:
    """Remove the folder of a run that produced nothing; of a numbered one also its parents, where empty after it."""
    shutil.rmtree(folder, ignore_errors=True)
    for parent in list(folder.parents)[: 3 if numbered else 0]:
        try:
            parent.rmdir()
        except OSError:
            return


def _is_leftover(path: Path) -> bool:
    return path.name.startswith(".") and path.suffix == ".part"


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that a killed process left in `folder` and below."""
    for part in folder.rglob(".*.part"):
        part.unlink(missing_ok=True)
