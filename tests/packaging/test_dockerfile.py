"""The Dockerfile against what is here: a build that fails takes minutes to say so, and needs Docker."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

from medzoo.core.registry import names

ROOT = Path(__file__).parents[2]


def instructions() -> list[tuple[str, str]]:
    """Each instruction and what it is given, lines joined and remarks left out."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest) for word, _, rest in (line.strip().partition(" ") for line in text.splitlines()) if word]


def given(word: str) -> list[str]:
    return [rest for found, rest in instructions() if found == word]


def test_it_has_the_instructions_of_an_image_and_no_other() -> None:
    order = [word for word, _ in instructions()]
    known = {"FROM", "RUN", "COPY", "ARG", "ENV", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}
    assert set(order) <= known
    assert order[0] == "FROM"
    assert order.index("USER") > max(place for place, word in enumerate(order) if word == "RUN")
    (user,) = given("USER")
    assert int(user.partition(":")[0]) > 0, "not root"
    assert "HF_HUB_OFFLINE=1" in given("ENV")[0].split()


def test_what_it_copies_is_there_and_is_sent_to_the_build() -> None:
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for rest in given("COPY"):
        source, target = rest.split()
        assert (ROOT / source).exists()
        assert source in sent
        assert target == f"/src/{source}"


def test_it_installs_every_package_by_the_constraints_and_with_extras_that_exist() -> None:
    (install,) = [rest for rest in given("RUN") if "pip install" in rest]
    commands = [shlex.split(part) for part in install.split("&&") if "pip install" in part]
    assert all(command[command.index("-c") + 1] == "constraints.txt" for command in commands)
    first, second = commands
    assert {"torch", "torchvision"} <= set(first)
    assert first[first.index("--index-url") + 1] == "$TORCH_INDEX"
    folders = [word for word in second if word.startswith("./packages/")]
    assert {re.split(r"[/\[]", folder)[2] for folder in folders} == {path.name for path in ROOT.glob("packages/*")}
    for folder in folders:
        path, _, extras = folder.rstrip("]").partition("[")
        project = tomllib.loads((ROOT / path / "pyproject.toml").read_text())["project"]
        assert set(filter(None, extras.split(","))) <= set(project["optional-dependencies"] if extras else [])
        version = project["requires-python"]
        assert version == ">=3.11"
    assert given("FROM")[0].startswith("python:3.11")


def test_it_starts_the_command_that_the_package_brings_and_its_example_is_one() -> None:
    (entry,), (command,) = map(json.loads, (*given("ENTRYPOINT"), *given("CMD")))
    project = tomllib.loads((ROOT / "packages/core/pyproject.toml").read_text())["project"]
    assert entry in project["scripts"]
    assert command == "--help"
    for file in ("Dockerfile", "README.md"):
        (example,) = re.findall(r"docker run .*? medzoo (.*)", (ROOT / file).read_text())
        verb, weights, *_ = example.split()
        assert verb in names("verb")
        assert weights in names("weight")
