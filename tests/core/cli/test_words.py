"""What the verbs that take words and options read from their command lines."""

from __future__ import annotations

import pytest

from medzoo.core.cli.request import Request
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


def test_weights_of_the_hub_may_start_a_training_or_be_tested_and_nothing_else_is_on_a_server() -> None:
    """`docs/share.md` says so; what such a name stands for is tested with the weights."""
    name = "hf://org/name"
    started = Request.parse("fit", ["--model", "toy", "--init_from", name])
    assert started.init_from == name
    assert started.options_of_run() == "", "a run notes the folder that was fetched, and no address"
    assert Request.parse("test", ["--model", "toy", "--ckpt_path", name]).ckpt_path == name
    for flag, value in (("--data.root", name), ("--init_from", "https://host/weights")):
        with pytest.raises(ConfigError, match="on a server"):
            Request.parse("fit", ["--model", "toy", flag, value])
