"""What a run folder says of the run."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from medzoo.core.errors import DataError
from medzoo.core.io import read_json
from medzoo.core.names import csv_text

_ROWS = 1_000_000


@dataclass(frozen=True)
class RunFolder:
    """One run.

    Attributes:
        path: Its folder.
        results: `results.json`.
        environment: `environment.json`; empty where there is none.
        curves: Values by epoch of what was logged, `(epoch, value)`.
        samples: Rows of `samples.csv`, as texts.
        figures: Pictures that the run drew.
    """

    path: Path
    results: dict[str, object]
    environment: dict[str, object]
    curves: dict[str, list[tuple[float, float]]]
    samples: list[dict[str, str]]
    figures: list[Path]

    @property
    def title(self) -> str:
        """Model and data, in words."""
        return f"{self.results.get('model', '?')} on {self.results.get('data', '?')}"

    @property
    def metrics(self) -> dict[str, float]:
        """Figures that are finite, by name."""
        found = self.results.get("metrics")
        pairs = found.items() if isinstance(found, dict) else ()
        return {str(k): float(v) for k, v in pairs if isinstance(v, int | float) and math.isfinite(v)}


def read_run(path: str) -> RunFolder:
    """Read what a run left.

    Raises:
        DataError: It is no folder of a run that was tested, or a file of it cannot be read.
    """
    folder = Path(path)
    if not folder.exists():
        raise DataError(path, "does not exist", "give the folder of a run, such as runs/uod/chest/0")
    if not (folder / "results.json").is_file():
        raise DataError(path, "has no results.json", "give the folder of a finished fit or test")
    results = read_json(folder / "results.json")
    if not isinstance(results, dict):
        raise DataError(folder / "results.json", "is not that of a run", "give the folder of a finished fit or test")
    environment = read_json(folder / "environment.json") if (folder / "environment.json").is_file() else {}
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in _table(folder / "metrics.csv"):
        for name, text in row.items():
            value, epoch = _number(text), _number(row.get("epoch", ""))
            if name != "epoch" and math.isfinite(value) and math.isfinite(epoch):
                curves.setdefault(name, []).append((epoch, value))
    pictures = sorted((folder / "figures").glob("*.png"))
    about = environment if isinstance(environment, dict) else {}
    return RunFolder(folder, results, about, curves, _table(folder / "samples.csv"), pictures)


def _table(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows: list[dict[str, str]] = []
            for row in csv.DictReader(file):
                if len(rows) == _ROWS or None in row or None in row.values():
                    raise DataError(path, "is not a table that a run writes", "test the model again")
                rows.append({name: csv_text(text) for name, text in row.items()})
            return rows
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(path, f"cannot be read ({type(error).__name__})", "test the model again") from error


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def error_of(sample: dict[str, str]) -> float:
    """Return the error of a sample, infinite where nothing was found, NaN where there is none."""
    return _number(sample.get("error", ""))
