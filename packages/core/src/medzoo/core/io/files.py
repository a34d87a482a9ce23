"""Writing so that a finished file is a whole file, and reading JSON with errors that name the place."""

from __future__ import annotations

import csv
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medzoo.core.errors import FULL, DataError, DiskError
from medzoo.core.io.types import check_plain
from medzoo.core.names import csv_cell

_MAX_JSON = 2**28


@contextmanager
def replacing(path: str | os.PathLike[str], fsync: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well it takes the place of `path` in one step.

    The temporary file lies in the same folder: a rename between file systems is a copy, which a kill can cut short.

    Args:
        path: Target; its folder is made where missing.
        fsync: Also wait until the content is on the disk, so that it survives a loss of power.

    Raises:
        DataError: The folder cannot be written to, or the target is one itself.
        DiskError: The disk is full; the file that was there before is intact.
    """
    target = Path(path)
    try:
        if target.is_dir():
            raise DataError(target, "is a folder", "name the file to write")
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not tempfile, whose files are private: results follow the user's umask.
        part = target.parent / f".{target.name[:40]}.{os.getpid()}-{secrets.token_hex(4)}.part"
        part.open("xb").close()
    except OSError as error:
        if error.errno in FULL:
            raise DiskError(f"{target}: cannot be written ({error.strerror}); make room and start again") from error
        raise DataError(target, f"cannot be written ({error.strerror})", "choose a folder you may write to") from error
    try:
        yield part
        if fsync:
            with part.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(part, target)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if isinstance(error, OSError) and _no_room(error, target.parent):
            raise DiskError(f"{target}: cannot be written ({error.strerror}); make room and start again") from error
        raise


def _no_room(error: OSError, folder: Path) -> bool:
    """Whether a write failed because the disk is full; NumPy reports that without a number."""
    return error.errno in FULL or (error.errno is None and shutil.disk_usage(folder).free < 2**20)


def write_json(path: str | os.PathLike[str], content: object, fsync: bool = False) -> None:
    """Write JSON with indentation; numbers that are not finite become null, since strict readers refuse NaN."""
    text = json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(path, fsync) as part:
        # A file name that is not UTF-8 holds half characters; JSON has them as \udce9 and reads them back.
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_csv(
    path: str | os.PathLike[str], rows: Iterable[Mapping[str, object]], columns: Sequence[str] | None = None
) -> None:
    """Write rows as comma-separated UTF-8 with a header line; texts that a spreadsheet takes for formulas are escaped.

    Args:
        path: Target.
        rows: One mapping from column to value each; missing values and None are left empty.
        columns: Order of the columns; that of the first row if not given. A row with any other column is a ValueError.
    """
    rows = list(rows)
    names = list(columns) if columns is not None else list(rows[0]) if rows else []
    with replacing(path) as part, part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.DictWriter(file, names, restval="", extrasaction="raise", lineterminator="\n")
        writer.writerow({name: csv_cell(name) for name in names})
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)


def write_image(
    path: str | os.PathLike[str],
    array: NDArray[np.generic],
    spacing: tuple[float, float] | None = None,
    bits: int = 8,
) -> None:
    """Write a PNG from values in [0, 1], which are clipped and rounded to the nearest level.

    Args:
        path: Target, ending in `.png`.
        array: `(H, W)` or `(3, H, W)`.
        spacing: Millimetres per pixel along x, y; kept in the file to 1 part in 10⁴ where finite.
        bits: 8, or 16 for grey.
    """
    from PIL import Image as Pillow

    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"path must end in .png, got {os.fspath(path)!r}")
    if bits not in (8, 16) or (bits == 16 and array.ndim != 2):
        raise ValueError(f"bits must be 8, or 16 for a grey image, got {bits} for shape {array.shape}")
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[0] == 3)):
        raise ValueError(f"array must be (H, W) or (3, H, W), got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("array must be finite")
    top = 2**bits - 1
    levels = np.rint(np.clip(array, 0, 1) * top).astype(np.uint16 if bits == 16 else np.uint8)
    image = Pillow.fromarray(levels if array.ndim == 2 else np.ascontiguousarray(levels.transpose(1, 2, 0)))
    options: dict[str, object] = {}
    if spacing is not None and all(np.isfinite(value) and value > 0 for value in spacing):
        options["dpi"] = tuple(25.4 / value for value in spacing)  # kept as whole pixels per metre
    with replacing(path) as part:
        image.save(part, format="PNG", **options)


def read_json(path: str | os.PathLike[str]) -> object:
    """Read a JSON file of at most 256 MB.

    Raises:
        DataError: Missing, not UTF-8, not JSON (with line and column), nested too deeply, or holding NaN or Infinity.
    """
    name = os.fspath(path)
    check_plain(name)
    try:
        if os.path.getsize(name) > _MAX_JSON:
            raise DataError(name, f"has more than {_MAX_JSON} bytes", "split it")
        text = Path(name).read_text(encoding="utf-8-sig")
        content: object = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise DataError(f"{name}:{error.lineno}:{error.colno}", f"is no JSON ({error.msg})", "correct it") from error
    except UnicodeDecodeError as error:
        raise DataError(name, "is no UTF-8 text", "save it as UTF-8") from error
    except RecursionError as error:
        raise DataError(name, "is nested too deeply", "flatten it") from error
    except ValueError as error:
        raise DataError(name, str(error), "use null or a number") from error
    except OSError as error:
        raise DataError(name, f"cannot be read ({error.strerror})", "check the path") from error
    return content


def read_object(path: str | os.PathLike[str]) -> dict[str, object]:
    """Read a JSON file of names with values.

    Raises:
        DataError: See `read_json`; or it holds a list, a text or a number.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(os.fspath(path), f"holds a {type(content).__name__}, expected names with values", "correct it")
    return content


def _refuse_constant(name: str) -> float:
    raise ValueError(f"holds {name}, which is no JSON number")


def _cell(value: object) -> object:
    plain = _plain(value, numbers=False)
    return plain if plain is None or isinstance(plain, int | float) else csv_cell(str(plain))


def _plain(value: object, numbers: bool = True) -> object:
    """Turn numpy and torch scalars and arrays into Python's own types."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item, numbers) for key, item in value.items()}
    if not isinstance(value, str | bytes) and hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item, numbers) for item in value]
    if numbers and isinstance(value, float) and not np.isfinite(value):
        return None
    return os.fspath(value) if isinstance(value, os.PathLike) else value
