"""What jsonargparse says, in one line that names the option and the nearest spelling.

Every pattern on the wording of another library's messages stands here. Where one no longer matches, its message is
shown as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from inspect import signature

from medzoo.core.cli.request import closest
from medzoo.core.errors import first_line

_TOP = ["--model", "--data", "--trainer", "--seed_everything"]


def one_line(text: str, options: Sequence[str], classes: Mapping[str, type]) -> str:
    """Reword a message of a parser; those of parsers inside it arrive again inside the outer one's.

    Args:
        text: The message, in one line.
        options: Option strings that the parser knows.
        classes: The classes behind the groups `model` and `data`, whose options nested errors are about.
    """
    if found := re.search(r"[Uu]nrecognized arguments?: (\S+)", text):
        option = found[1].partition("=")[0]
        return f"no option {option}{closest(option, list(options))}"
    if found := re.search(r'(?:Key|Option) ["\'](\S+?)["\'] is required', text):
        return f"missing --{found[1]}"
    if found := re.search(r"Group '(\w+)' does not accept option '(\S+)'", text):
        return f"no option --{found[1]}.{found[2]}"
    if found := re.match(r'Parser key "(\w+)": Unable to load config', text):
        return f"--{found[1]}: expected settings by name, such as --{found[1]}.NAME VALUE"
    head = re.match(r'Parser key "((?:model|data|trainer|seed|selector)[\w.]*)": (.*)', text)
    if head is None:
        alone = re.fullmatch(r"Option '(\w+)' is not accepted", text)
        return f"no option --{alone[1]}{closest('--' + alone[1], _TOP)}" if alone else text
    key, rest = head[1], _last_error(head[2])
    value = re.search(r"Given value: (\S+)$", rest)
    rest = re.sub(r" - Expected a <class 'NoneType'>.*$", "", rest)
    if found := re.search(r"no option --([\w.]+)", rest):  # as worded above for the inner options
        return f"no option --{key}.{found[1]}{_meant(key, found[1], classes)}"
    while inner := re.match(r'Parser key "([\w.]+)": (.*)', rest):
        key, rest = f"{key}.{inner[1]}", _last_error(inner[2])
    if denied := re.search(r"class_path '([\w.]+)'.*? is not allowed", rest):
        return f"--{key}: {denied[1]} is not allowed; name a class of medzoo, a plug-in or Lightning"
    got = re.search(r"Got value: (\S+)", rest) or value
    given = got[1] if got else "something else"
    if choices := re.findall(r"Expected a typing\.Literal\[(.*?)\]", head[2]):
        names = list(dict.fromkeys(name.strip(" '") for choice in choices for name in choice.split(",")))
        return f"--{key}: expected one of {', '.join(names)}, got {given}{closest(given, names)}"
    if kinds := re.findall(r"Expected (?:a |an )?<class '(\w+)'>", rest):
        return f"--{key}: expected {' or '.join(dict.fromkeys(kinds))}, got {given}"
    return f"--{key}: {rest}"


def cause_of(error: Exception) -> str:
    """Return why a class could not be built, without what a parser puts around it."""
    found = re.search(r"Errors: - (.*?) - Expected a <class 'NoneType'>", " ".join(str(error).split()))
    return found[1] if found else first_line(error)


def _last_error(text: str) -> str:
    return re.sub(r"^.*?Errors: - ", "", text)


def _meant(key: str, name: str, classes: Mapping[str, type]) -> str:
    """Return what to write instead of an option that a class lacks."""
    if key not in classes:
        return ""
    parameters = signature(classes[key]).parameters.values()
    known = [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    if name == "root" and "root" not in known:
        return f"; {classes[key].__name__} reads no folder"
    stages = [f"--{key}.{option}" for option in known if option.endswith(f"_{name}")]  # match_lr for lr
    if stages:
        return f"; did you mean {' or '.join(stages)}?"
    return closest(f"--{key}.{name}", [f"--{key}.{option}" for option in known])
