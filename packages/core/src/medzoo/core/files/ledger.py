"""What a prediction of files has written so far, a line a file: a second call goes on where a first one ended."""

from __future__ import annotations

import json
from pathlib import Path

from medzoo.core.errors import ConfigError
from medzoo.core.io import read_object, replacing, write_json

ABOUT, LINES = "about.json", "predictions.jsonl"


Record = dict[str, object]
"""The answer to a file, with its `path`, `id` and `sha256`."""


class Ledger:
    """The records in a folder of predictions, and what they were made with.

    Args:
        folder: The folder; made where missing.
        about: What the records depend on (model, its hash, version, settings), and where the checkpoint is now.

    Raises:
        ConfigError: The folder holds predictions that were made with something else, or other files.
    """

    def __init__(self, folder: Path, about: dict[str, object]) -> None:
        self.folder, self.about = folder, about
        path = folder / ABOUT
        if path.is_file():
            earlier = read_object(path)
            differs = [key for key in about if key != "checkpoint" and earlier.get(key) != about[key]]
            if differs:
                problem = f"holds predictions with another {differs[0]}"
                raise ConfigError(f"-o {folder}: {problem}; name another folder, or remove it")
        elif folder.is_dir() and any(folder.iterdir()):
            raise ConfigError(f"-o {folder}: is not empty, and not of a prediction; name another folder")
        else:
            write_json(path, about)
        self.records = self._read()

    def _read(self) -> list[Record]:
        """Return the whole lines; what a killed call left of one is dropped from the file."""
        path = self.folder / LINES
        if not path.is_file():
            return []
        text = path.read_text(encoding="utf-8")
        whole, end, rest = text.rpartition("\n")
        if rest:
            with replacing(path) as part:
                part.write_text(whole + end, encoding="utf-8")
        return [json.loads(line) for line in whole.splitlines()]

    def add(self, record: Record) -> None:
        """Append a record, and hand it to the system at once."""
        self.records.append(record)
        with (self.folder / LINES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def hashes(self) -> dict[str, str]:
        """Return the SHA-256 of each file that has a record."""
        return {str(record["path"]): str(record["sha256"]) for record in self.records}

    def drop(self, path: str) -> None:
        """Forget the record of a file that has changed since."""
        self.records = [record for record in self.records if record["path"] != path]
        with replacing(self.folder / LINES) as part:
            part.write_text("".join(json.dumps(record) + "\n" for record in self.records), encoding="utf-8")

    def close(self) -> None:
        """Write all records as `predictions.json`, as every prediction has it."""
        write_json(self.folder / "predictions.json", {"schema": 1, **self.about, "predictions": self.records})
