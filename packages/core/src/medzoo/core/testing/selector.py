"""The contract of a selector: what a choice of images can be relied upon to be."""

from __future__ import annotations

import csv
import inspect
import json
from pathlib import Path
from typing import ClassVar

import docstring_parser
import pytest

from medzoo.core.cli import main
from medzoo.core.registry import find, load
from medzoo.core.selectors import Selector
from medzoo.core.testing.data import text


class SelectorContract:
    """Tests that a selector inherits; all go through the real command line.

    Example:
        class TestSCP(SelectorContract):
            name = "scp"
            tiny = {"data": "landmark-phantoms", "data.n_train": 6, "selector.backbone": "resnet18"}
    """

    name: ClassVar[str]
    """Name of the selector on the command line."""
    tiny: ClassVar[dict[str, object]]
    """Options, without the leading dashes, with which a choice among a few small images takes a second."""
    budget: ClassVar[int] = 2
    """Images to choose of each domain; there are more."""

    @pytest.fixture(autouse=True)
    def _in_a_folder_of_its_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    def choose(self, folder: str, *more: str) -> int:
        """Run the command with the tiny options and return its exit code."""
        flags = [part for key, value in self.tiny.items() for part in (f"--{key}", text(value))]
        return main(["select", self.name, "--budget", str(self.budget), *flags, "--run_dir", folder, *more])

    def test_its_name_resolves_and_every_option_has_a_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The registry finds a Selector with a complete card; `--help` shows each `__init__` argument."""
        spec = find("selector", self.name)
        kind = load(spec)
        assert issubclass(kind, Selector)
        assert not [key for key in ("name", "task", "summary", "data") if not spec.card.get(key)]
        assert len(spec.summary) <= 120
        texts = {p.arg_name for p in docstring_parser.parse(inspect.getdoc(kind) or "").params if p.description}
        arguments = list(inspect.signature(kind).parameters)
        assert not set(arguments) - texts
        assert main(["select", self.name, "--help"]) == 0
        page = capsys.readouterr().out
        assert not [name for name in arguments if f"--selector.{name}" not in page]

    def test_ranks_are_complete_and_the_same_command_chooses_the_same(self) -> None:
        """Every domain has the ranks 1 to T with T different images; table and JSON agree; no chance is involved."""
        assert [self.choose(folder) for folder in ("one", "two")] == [0, 0]
        assert Path("one/selection.csv").read_bytes() == Path("two/selection.csv").read_bytes()
        with Path("one/selection.csv").open(encoding="utf8") as file:
            rows = list(csv.DictReader(file))
        for domain in {row["domain"] for row in rows}:
            own = [row for row in rows if row["domain"] == domain]
            assert [int(row["rank"]) for row in own] == list(range(1, self.budget + 1))
            assert len({row["id"] for row in own}) == self.budget
        written = json.loads(Path("one/selection.json").read_text(encoding="utf8"))
        assert written["selector"] == self.name
        assert [choice["id"] for choice in written["choices"]] == [row["id"] for row in rows]

    @pytest.mark.parametrize(
        ("option", "value"), [("--budget", "0"), ("--budget", "1000000"), ("--selector.no_such_option", "1")]
    )
    def test_a_wrong_option_costs_one_line_and_leaves_nothing(
        self, capsys: pytest.CaptureFixture[str], option: str, value: str
    ) -> None:
        """Exit code 2 and one line that names the option."""
        assert self.choose("wrong", option, value) == 2
        err = capsys.readouterr().err.strip().splitlines()
        assert sum(line.startswith("medzoo: error") for line in err) == 1
        assert option in err[-1]
        assert not Path("wrong").exists()
