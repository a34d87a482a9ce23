"""What a command line asks for, found out before torch is imported: names, configuration files, the run folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from medzoo.core.cli.cohorts import add_test_set, take_test_sets
from medzoo.core.errors import ConfigError
from medzoo.core.recipes import KINDS, check_number, class_of, class_path_of, packaged_recipe, read_config, recipe_names
from medzoo.core.registry import Spec, find, registered
from medzoo.core.runs.loggers import asked_loggers
from medzoo.core.spelling import nearest

_VALUED = ("--run_dir", "--ckpt_path", "--init_from", "--freeze", "--test_set", "--logger")
_PART = re.compile(r"\w+(\.\w+)*")
_SWITCHES = ("--resume", "--quiet", "--help", "-h")


@dataclass
class Request:
    """A parsed command line of `fit`, `validate`, `test` or `predict`."""

    verb: str
    model: Spec | None = None
    data: Spec | None = None
    run_dir: Path | None = None
    ckpt_path: str | None = None
    init_from: str | None = None
    start: dict[str, str] = field(default_factory=dict)
    """What a training starts from, `ckpt_path` or `init_from` as it is asked for: its `config.yaml` keeps it."""
    frozen: list[str] = field(default_factory=list)
    """Names of the parts of the model that keep their weights."""
    configures_data: bool = False
    """Whether a configuration file names data."""
    trained_on: str | None = None
    """Folder of the images that the checkpoint was trained on, where it names one."""
    base: tuple[str, str] | None = None
    """The packaged recipe that `--config MODEL/NAME` asks for, which replaces the default one."""
    test_sets: dict[str, str] = field(default_factory=dict)
    """Folders of further test sets, by name."""
    loggers: tuple[str, ...] = ()
    """Loggers beside `metrics.csv`."""
    switches: set[str] = field(default_factory=set)
    arguments: list[str] = field(default_factory=list)
    """What is left for the parser, with configuration files as JSON texts and names as class paths."""

    @classmethod
    def parse(cls, verb: str, args: list[str]) -> Request:
        """Read the arguments after the verb.

        Raises:
            ConfigError: A configuration file cannot be read, or a flag lacks its value.
            PluginError: A model or data module is unknown.
        """
        from medzoo.core.safe_yaml import read_yaml

        request = cls(verb)
        check_values(args)
        rest: list[str] = []
        queue = split_equals(args, (*_VALUED, "--config", "-c", "--model", "--data"))
        while queue:
            flag = queue.pop(0)
            if flag in _SWITCHES:
                request.switches.add("--help" if flag == "-h" else flag)
            elif flag in _VALUED:
                value = take_value(flag, queue)
                if flag == "--run_dir":
                    request.run_dir = Path(value)
                elif flag == "--ckpt_path":
                    request.ckpt_path = value
                elif flag == "--test_set":
                    name, _, root = value.partition("=")
                    add_test_set(request.test_sets, name, root, f"--test_set {value}")
                elif flag == "--freeze":
                    if verb != "fit":
                        raise ConfigError(f"--freeze is for a training; medzoo {verb} changes no weights")
                    add_frozen(request.frozen, value.split(","), f"--freeze {value}")
                elif flag == "--logger":
                    request.loggers = asked_loggers(value)
                else:
                    request.init_from = value
            elif flag in ("--config", "-c"):
                name = take_value(flag, queue)
                if Path(name).is_file():
                    rest += [
                        "--config",
                        json.dumps(request._take(read_config(Path(name), f"--config {name}"), f"--config {name}")),
                    ]
                else:
                    request._choose_recipe(name)
            elif flag in ("--model", "--data"):
                key = flag[2:]
                value = take_value(flag, queue)
                inline = value.startswith("{")  # a class with its settings, which `check_values` has read once
                chosen = class_of(key, read_yaml(value)) if inline else class_path_of(key, value)
                request._choose(key, chosen)
                rest += [flag, chosen if isinstance(chosen, str) else json.dumps(chosen)]
            else:
                rest.append(flag)
        request.arguments = request._resumed() + rest
        request._choose_start()
        if request.test_sets and verb != "test":
            raise ConfigError(f"--test_set (test_sets in a file) is for medzoo test, not for medzoo {verb}")
        if request.model is None and not (request.ckpt_path or request.init_from) and "--help" not in request.switches:
            raise ConfigError(f"missing --model NAME; {_known('model')}")
        return request

    def _choose_recipe(self, name: str) -> None:
        """Note a packaged recipe, such as `uod/paper`, and the model that it is of."""
        model, _, recipe = name.partition("/")
        if not recipe or "/" in recipe or name.endswith((".yaml", ".yml", ".json")):
            raise ConfigError(f"--config {name}: no such file")
        if self.base is not None and self.base != (model, recipe):
            raise ConfigError(f"--config {name}: a run has one packaged recipe, and {'/'.join(self.base)} is given")
        spec = find("model", model)
        if recipe not in recipe_names(spec):
            known = ", ".join(f"{model}/{known}" for known in recipe_names(spec))
            raise ConfigError(f"--config {name}: no such file or packaged recipe; known: {known or 'none'}")
        self.base = (model, recipe)
        self.model = self.model or spec

    def _take(self, config: dict[str, object], source: str) -> dict[str, object]:
        """Expand the names in a configuration and note what it chooses."""
        take_test_sets(self.test_sets, config, source)
        add_frozen(self.frozen, config.pop("freeze", []), f"{source}: freeze")
        start = {name: config.pop(name) for name in ("ckpt_path", "init_from") if name in config}
        if len(start) > 1 or not all(isinstance(path, str) and path for path in start.values()):
            raise ConfigError(f"{source}: expected one checkpoint to start from, in ckpt_path or in init_from")
        if any(is_url(str(path)) for path in start.values()):  # a file of settings must not make anybody fetch anything
            raise ConfigError(f"{source}: {', '.join(start)} is on a server; give it on the command line")
        self.start = cast("dict[str, str]", start) or self.start
        self.configures_data = self.configures_data or "data" in config
        for key in KINDS:
            if key in config:
                config[key] = class_of(key, config[key])
                self._choose(key, config[key])
        return config

    def _choose(self, key: str, value: object) -> None:
        path = value if isinstance(value, str) else value.get("class_path") if isinstance(value, dict) else None
        if path is not None:
            spec = registered(KINDS[key], path)
            if key == "model":
                self.model = spec
            else:
                self.data = spec

    def _choose_start(self) -> None:
        """Start a training as the command line says, else as a configuration does, else as the run that is resumed.

        Raises:
            ConfigError: The command line names two places to start from.
        """
        asked = {"ckpt_path": self.ckpt_path, "init_from": self.init_from}
        if self.verb != "fit":
            self.start = {}
            return
        if all(asked.values()):
            raise ConfigError("--ckpt_path goes on with a training, --init_from starts another: give one of them")
        if self.ckpt_path and "--resume" in self.switches:
            raise ConfigError("--resume goes on from the run's own checkpoint: leave out --ckpt_path")
        used = self.start = {name: path for name, path in asked.items() if path} or self.start
        if "--resume" in self.switches and self.run_dir and (self.run_dir / "checkpoints" / "last.ckpt").is_file():
            used = {}  # the run has a checkpoint of its own
        self.ckpt_path, self.init_from = used.get("ckpt_path"), used.get("init_from")

    def _resumed(self) -> list[str]:
        """With `--resume`, the configuration of the run to continue, and its folder."""
        if "--resume" not in self.switches:
            return []
        if self.verb != "fit":
            raise ConfigError(f"--resume continues a training; medzoo {self.verb} takes --ckpt_path FILE")
        from medzoo.core.runs.folder import newest_run_folder

        if self.run_dir is None:
            names = (self.model.name if self.model else None, self.data.name if self.data else None)
            self.run_dir = newest_run_folder(*names)
        if not (self.run_dir / "config.yaml").is_file():
            raise ConfigError(f"--resume: {self.run_dir} has no config.yaml, so it is no run of medzoo fit")
        asked = (self.model, self.data)
        saved = self.run_dir / "config.yaml"
        config = self._take(read_config(saved, f"--config {saved}"), f"--config {saved}")
        self.model, self.data = asked[0] or self.model, asked[1] or self.data
        return ["--config", json.dumps(config)]

    def options_of_run(self) -> str:
        """Return what a configuration holds beside model, data and trainer, as YAML; empty where it is nothing."""
        from medzoo.core.safe_yaml import write_yaml

        start = {name: path for name, path in self.start.items() if not is_url(path)}
        options = {"test_sets": self.test_sets, "freeze": self.frozen, **start}
        given = {name: value for name, value in options.items() if value}
        return write_yaml(given) if given else ""

    def recipe(self) -> list[str]:
        """Return the packaged recipe of the chosen model as parser arguments, the lowest layer of the configuration.

        It is the one that `--config MODEL/NAME` names, or the model's default; never one on top of the other.

        Raises:
            ConfigError: The recipe is another model's.
        """
        if self.model is None:
            return []
        if self.base is not None and find("model", self.base[0]) != self.model:
            raise ConfigError(
                f"--config {'/'.join(self.base)}: a recipe of {self.base[0]}, but the model is {self.model.name}"
            )
        config = packaged_recipe(self.model, self.base[1] if self.base else "default")
        if "data" in config and self.data is None:
            self._choose("data", config["data"])
        return ["--config", json.dumps(config)]


def is_url(text: str) -> bool:
    """Return whether a text is the address of something on a server, also behind others, as in `simplecache::http://`."""
    return re.match(r"\s*[A-Za-z][\w+.-]*(://|::)", text) is not None


def check_values(args: list[str]) -> None:
    """Look over the values of a command line before anything reads them.

    Raises:
        ConfigError: One is a URL (but for weights of the hub), a number with leading zeros, or a list that is broken or
            beyond the limits.
    """
    import yaml

    from medzoo.core.safe_yaml import read_yaml

    for place, argument in enumerate(args):
        option, equals, value = argument.partition("=")
        if not option.startswith("--"):
            continue
        if "." in option and (value == "" if equals else args[place + 1 : place + 2] == [""]):
            raise ConfigError(f"{option}: needs a value; null stands for none")
        value = value if equals else args[place + 1] if place + 1 < len(args) else ""
        if is_url(value) and not (option in ("--ckpt_path", "--init_from") and value.startswith("hf://")):
            raise ConfigError(f"{option} {value[:100]}: on a server; give a local file only, or a local folder")
        if "." in option:
            check_number(option, value)
        if value[:1] in ("[", "{"):
            try:
                read_yaml(value)
            except yaml.YAMLError as error:
                why = " ".join(str(error).split())[:200]
                raise ConfigError(f"{option}: not valid YAML or JSON ({why}); a file is ./{value[:80]}") from error


def add_frozen(known: list[str], names: object, place: str) -> None:
    """Note parts of a model that are not to be trained.

    Raises:
        ConfigError: They are no names of modules.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) and _PART.fullmatch(name) for name in names):
        raise ConfigError(f"{place}: expected names of parts of the model, such as backbone; in a file [backbone]")
    known += [name for name in names if name not in known]


def split_equals(args: list[str], flags: tuple[str, ...]) -> list[str]:
    """Write `--flag=value` as two arguments for the flags that are read here."""
    out: list[str] = []
    for arg in args:
        flag, equals, value = arg.partition("=")
        out += [flag, value] if equals and flag in flags else [arg]
    return out


def take_value(flag: str, queue: list[str]) -> str:
    """Take the value of a flag from the arguments after it."""
    if not queue or not queue[0] or queue[0].startswith("--"):
        raise ConfigError(f"{flag}: needs a value")
    return queue.pop(0)


def _known(kind: str) -> str:
    from medzoo.core.registry import names

    return f"known: {', '.join(names(kind)) or 'none, install a package such as medzoo-landmark'}"


def closest(word: str, words: Iterable[str]) -> str:
    """Return `"; did you mean X?"` where one of `words` is near, else nothing."""
    close = nearest(word, words)
    return f"; did you mean {close[0]}?" if close else ""
