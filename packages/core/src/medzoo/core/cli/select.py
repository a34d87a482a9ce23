"""`medzoo select NAME --budget T`: which images to annotate, before anybody has."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import asdict, fields
from pathlib import Path

from medzoo.core.cli.request import check_values, split_equals, take_value
from medzoo.core.cli.streams import say, show
from medzoo.core.errors import ConfigError
from medzoo.core.registry import Spec, find, load, specs

HELP = """usage: medzoo select NAME --budget T [--ckpt_path FILE] [--data NAME --data.root DIR ...] [options]

Chooses T training images of each domain that are worth annotating; no label is read. Writes selection.csv (ranked) and
selection.json. The data are those of the checkpoint unless --data names others.
  --budget T        images to choose, of each domain
  --ckpt_path FILE  a trained model whose features the selector compares, where it needs one
  --run_dir DIR     folder of the files (default: runs/NAME/DATA/N)
  medzoo select NAME --help   the selector's options
"""
_VALUED = ("--budget", "--ckpt_path", "--run_dir", "--data")


def run(args: list[str]) -> None:
    """Carry out the selection and print it.

    Raises:
        ConfigError: The arguments are wrong.
    """
    check_values(args)
    helps = {"--help", "-h"} & set(args)
    if not args or args[0].startswith("-"):
        known = specs("selector")
        show(HELP + "".join(f"\n{spec.name}: {spec.summary}" for spec in known))
        if not helps:
            raise ConfigError(f"medzoo select needs a selector: {', '.join(s.name for s in known) or 'none installed'}")
        return
    spec = find("selector", args[0])
    values: dict[str, str] = {}
    rest: list[str] = []
    queue = split_equals([a for a in args[1:] if a not in helps], _VALUED)
    while queue:
        flag = queue.pop(0)
        if flag in _VALUED:
            values[flag] = take_value(flag, queue)
        else:
            rest.append(flag)
    if not helps and not re.fullmatch("[0-9]{1,9}", values.get("--budget", "")):
        raise ConfigError("medzoo select needs --budget T, a number of images")
    _select(spec, values, rest, bool(helps))


def _select(spec: Spec, values: dict[str, str], rest: list[str], helps: bool) -> None:
    selector_class = load(spec)
    from lightning.pytorch import seed_everything

    from medzoo.core.cli.parser import parser_of
    from medzoo.core.io import write_csv, write_json
    from medzoo.core.runs.checkpoint_io import read_checkpoint
    from medzoo.core.runs.folder import discard, given_run_folder, new_run_folder
    from medzoo.core.runs.results import versions
    from medzoo.core.runs.saved import saved
    from medzoo.core.selectors import Choice
    from medzoo.core.zoo import load_checkpoint

    path = values.get("--ckpt_path")
    trained = saved(read_checkpoint(path), "datamodule", path) if path else None
    data = find("datamodule", values["--data"]) if "--data" in values else trained.spec if trained else None
    settings = trained.settings if trained and trained.spec == data else {}
    classes = {"selector": selector_class} | ({"data": load(data)} if data is not None else {})
    parser = parser_of(classes)(prog="medzoo", usage=f"medzoo select {spec.name} --budget T [options]", add_help=False)
    parser.add_class_arguments(selector_class, "selector", fail_untyped=False)
    if data is not None:
        parser.add_class_arguments(load(data), "data", fail_untyped=False)
        parser.set_defaults({f"data.{key}": value for key, value in settings.items()})
    if helps:
        show(parser.format_help())
        return
    if data is None:
        raise ConfigError("missing --data NAME")
    config = parser.parse_args(rest)
    seed_everything(0, verbose=False)  # the same command chooses the same, by a network with random weights too
    built = parser.instantiate_classes(config)
    model = load_checkpoint(path) if path else None
    given = values.get("--run_dir")
    folder = given_run_folder(Path(given), False) if given else new_run_folder(spec.name, data.name)
    try:
        choices = built.selector.select(model, built.data, int(values["--budget"]))
    except BaseException:
        discard(folder, numbered=given is None)
        raise
    rows = [asdict(choice) for choice in choices]
    write_csv(folder / "selection.csv", rows, [field.name for field in fields(Choice)])
    about = {"schema": 1, "selector": spec.name, "data": data.name, "checkpoint": path, "versions": versions()}
    write_json(folder / "selection.json", {**about, "choices": rows})
    for domain in dict.fromkeys(choice.domain for choice in choices):
        own = [choice for choice in choices if choice.domain == domain]
        say(f"{domain}:")
        for choice in own:
            say(f"  {choice.rank:3d}  {choice.id}  score {choice.score:.4f} (+{choice.gain:.4f})")
        say(f"  to train on them: --data.shots {_as_argument([choice.id for choice in own])}")
    say(f"run folder: {folder}")


def _as_argument(names: list[str]) -> str:
    """Return a list that neither YAML (`1.10` is a number) nor the shell (blanks) reads as something else."""
    plain = all(re.fullmatch(r"[^\W\d][\w.-]*|\d+", name) for name in names)
    return f"[{','.join(names)}]" if plain else shlex.quote(json.dumps(names, ensure_ascii=False))
