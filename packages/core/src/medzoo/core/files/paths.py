"""From what a command line names (files, folders, patterns) to files with an id each."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path

from medzoo.core.errors import DataError
from medzoo.core.io.kinds import folder_of, is_image, page_of, slice_files
from medzoo.core.io.listing import holds_results, leftover, stem
from medzoo.core.io.tiff import is_tiff, page_count
from medzoo.core.io.types import NIFTI, RASTER


def check_there(paths: Sequence[str]) -> None:
    """Check that all paths that are no patterns exist.

    Raises:
        DataError: One does not.
    """
    for path in paths:
        if not _there(path) and not glob.has_magic(path):
            raise DataError(path, "does not exist", "check the path")


def _there(path: str) -> bool:
    """Return whether a path, or the file or folder that it is a page or a series of, exists."""
    return os.path.lexists(path) or os.path.isfile(page_of(path)[0]) or bool(folder_of(path)[1])


def expand(paths: Sequence[str], endings: tuple[str, ...] = ()) -> list[str]:
    """Return the files that are named, each once: files as they are, images in folders and below, those of patterns.

    Folders are read in the order of names, hidden files, those that systems leave and pictures in folders of results
    passed over; links to folders are not followed. A file that is named itself is taken whatever it is called.

    Args:
        paths: What is named.
        endings: Of the files that are looked for in the place of images.

    Raises:
        DataError: A path does not exist, or a folder or a pattern has no such file.
    """
    check_there(paths)
    kinds = ", ".join(endings) or "PNG, JPEG, TIFF, NIfTI or DICOM"
    what = "record" if endings else "image"
    found: dict[str, None] = {}
    for path in paths:
        if os.path.isdir(path):
            files = list(_below(path, endings))
            if not files:
                raise DataError(path, f"holds no {what}", f"give a folder with {kinds} files")
        elif _there(path):
            files = [path]
        else:
            named = sorted(glob.glob(path, recursive=True))
            written = set(Path(path).parts)  # what the pattern itself says is meant, such as `..`
            plain = [file for file in named if not any(leftover(Path(p)) for p in {*Path(file).parts} - written)]
            known: dict[Path, bool] = {}
            images = [file for file in plain if not os.path.isdir(file) and _meant(file, endings)]
            files = [file for file in images if not _in_results(file, written, known)]
            if not files:
                raise DataError(path, f"matches no {what}", "check the pattern; quote it, so that the shell leaves it")
        found |= dict.fromkeys(map(os.path.normpath, files))
    return list(found)


def _in_results(file: str, written: Set[str], known: dict[Path, bool]) -> bool:
    """Return whether a file lies in a folder of results that the pattern does not name; `known` are those seen."""
    for parent in Path(file).parents[:-1]:
        if parent not in known:
            known[parent] = parent.name not in written and holds_results(os.listdir(parent))
    return any(known[parent] for parent in Path(file).parents[:-1])


def _below(folder: str, endings: tuple[str, ...]) -> Iterable[str]:
    for base, names, files in os.walk(folder):
        if base != folder and holds_results(files):
            names.clear()
            continue
        names[:] = sorted(name for name in names if not leftover(Path(name)))
        for name in sorted(files):
            if not leftover(Path(name)) and _meant(os.path.join(base, name), endings):
                yield os.path.join(base, name)


def _meant(path: str, endings: tuple[str, ...]) -> bool:
    return path.lower().endswith(endings) if endings else is_image(path)


def folded(files: Iterable[str]) -> list[str]:
    """Return the files with their folder in the place of DICOM files, of which one slice stands for its series.

    Where a folder holds several series, each that a file is of is `FOLDER#SeriesInstanceUID`.
    """
    found: dict[str, None] = {}
    uids: dict[str, dict[str, str]] = {}
    for path in files:
        name = path
        if not path.lower().endswith(RASTER + NIFTI) and os.path.isfile(path) and is_image(path):
            name = os.path.dirname(path) or "."
            if name not in uids:
                uids[name] = _uids(name)
            uid = uids[name].get(os.path.basename(path), "")
            if uid and len(set(uids[name].values())) > 1:
                name = f"{name}#{uid}"
        found[name] = None
    return list(found)


def _uids(folder: str) -> dict[str, str]:
    """Return the series of the DICOM files of a folder by their name; of those that name none the reader complains."""
    from medzoo.core.io.series import series_uid

    found = {}
    for file in slice_files(folder):
        with suppress(DataError):
            found[os.path.basename(file)] = series_uid(file)
    return {name: uid for name, uid in found.items() if uid}


def paged(files: Iterable[str]) -> list[str]:
    """Return the files with `FILE.tif#1`, `FILE.tif#2`, … in the place of TIFF files that hold several pages."""
    found: list[str] = []
    for path in files:
        pages = 1
        if path.lower().endswith((".tif", ".tiff")) and os.path.isfile(path):
            with suppress(DataError, OSError):  # what is wrong with a file is said where it is read
                pages = page_count(path) if is_tiff(path) else 1
        found += [f"{path}#{page}" for page in range(1, pages + 1)] if pages > 1 else [path]
    return found


def named(files: Iterable[str], known: Mapping[str, str]) -> dict[str, str]:
    """Return the files by id: their name without ending, with a hash of the path where another has that name.

    Args:
        files: The files.
        known: Files by id of an earlier call, which keep theirs.
    """
    ids = {path: name for name, path in known.items()}
    taken, found = set(known), {}
    for path in files:
        name = ids.get(path) or stem(path)
        if path not in ids and name in taken:
            name = f"{name}-{hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:8]}"
        taken.add(name)
        found[name] = path
    return found


def sha256(path: str | Path, parts: Sequence[str] = ()) -> str:
    """Return the SHA-256 of a file's bytes, of a folder or a series in it that of the sums of its slices.

    The slices are taken in the order of their names.

    Args:
        path: The file or folder.
        parts: Files that belong to it; then the hash is that of the sums of all.

    Raises:
        DataError: It cannot be read.
    """
    if parts:
        sums = "".join(f"{sha256(file)}\n" for file in (path, *parts))
        return hashlib.sha256(sums.encode()).hexdigest()
    if folder_of(path)[0]:
        from medzoo.core.io.series import series_files  # nibabel takes a while to import

        sums = "".join(f"{sha256(file)}\n" for file in series_files(str(path)))
        return hashlib.sha256(sums.encode()).hexdigest()
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "check the path") from error
