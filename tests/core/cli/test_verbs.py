"""What every verb does, whoever brings it: it is listed with a summary, has a help page, and a slip costs one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from medzoo.core.cli import main
from medzoo.core.registry import find, names


@pytest.mark.parametrize("verb", names("verb"))
def test_every_verb_is_listed_with_help_and_refuses_an_unknown_option_in_one_line(
    verb: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = find("verb", verb).summary
    assert summary
    assert main(["--help"]) == 0
    assert f"  {verb:<14}{summary}\n" in capsys.readouterr().out
    assert main([verb, "--help"]) == 0
    assert f"usage: medzoo {verb}" in capsys.readouterr().out
    assert main([verb, "--no_such_option", "1"]) == 2
    err = capsys.readouterr().err.strip()
    assert err.count("\n") == 0, err
    assert not list(workdir.iterdir())
