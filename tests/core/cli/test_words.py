"""What the verbs that take words and options read from their command lines."""

from __future__ import annotations

import pytest

from medzoo.core.cli.words import read_given, words_and_values
from medzoo.core.errors import ConfigError

OPTIONS, REPEATED, SWITCHES = ("--out", "--label"), ("--group",), ("--no-finding",)


def test_options_stand_anywhere_and_only_those_that_repeat_keep_all_their_values() -> None:
    line = ["a", "--group", "sex", "--group=age", "--out=first", "-o", "second", "--no-finding", "b"]
    given = read_given(line, OPTIONS, REPEATED, SWITCHES)
    assert given.words == ["a", "b"]
    assert given.values == {"--out": "second"}
    assert given.repeated == {"--group": ["sex", "age"]}
    assert given.switches == {"--no-finding"}


def test_what_is_not_given_is_empty() -> None:
    assert read_given([], OPTIONS, REPEATED, SWITCHES) == ([], {}, {"--group": []}, set())
    assert words_and_values(["a", "-o", "there"], ("--out",)) == (["a"], {"--out": "there"})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["--lable", "x"], "did you mean --label?"),
        (["--grup", "x"], "did you mean --group?"),
        (["--no-findin"], "did you mean --no-finding?"),
        (["--group"], "--group: needs a value"),
        (["-x"], "no option -x; see --help"),
    ],
)
def test_a_wrong_option_is_one_line(line: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_given(line, OPTIONS, REPEATED, SWITCHES)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
