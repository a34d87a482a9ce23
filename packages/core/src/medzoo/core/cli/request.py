"""What a command line asks for, found out before torch is imported: names, configuration files, the run folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from medzoo.core.errors import ConfigError, PluginError
from medzoo.core.registry import Spec, find, folder_of, specs

KINDS = {"model": "model", "data": "datamodule"}
_VALUED = ("--run_dir", "--ckpt_path")
_SWITCHES = ("--resume", "--quiet", "--tensorboard", "--help", "-h")
_MAX_CONFIG_BYTES = 2**20


@dataclass
class Request:
    """A parsed command line of `fit`, `validate`, `test` or `predict`."""

    verb: str
    model: Spec | None = None
    data: Spec | None = None
    run_dir: Path | None = None
    ckpt_path: str | None = None
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
        request = cls(verb)
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
                else:
                    request.ckpt_path = value
            elif flag in ("--config", "-c"):
                rest += ["--config", json.dumps(request._take(_config(take_value(flag, queue))))]
            elif flag in ("--model", "--data"):
                key = flag[2:]
                value = take_value(flag, queue)
                expanded = value if value.startswith("{") else _expand(key, value)
                request._choose(key, json.loads(value) if value.startswith("{") else expanded)
                rest += [flag, expanded]
            else:
                rest.append(flag)
        request.arguments = request._resumed() + rest
        if request.model is None and request.ckpt_path is None and "--help" not in request.switches:
            raise ConfigError(f"missing --model NAME; {_known('model')}")
        return request

    def _take(self, config: dict[str, Any]) -> dict[str, Any]:
        """Expand the names in a configuration and note what it chooses."""
        for key in KINDS:
            if key in config:
                config[key] = _expand_value(key, config[key])
                self._choose(key, config[key])
        return config

    def _choose(self, key: str, value: Any) -> None:
        path = value if isinstance(value, str) else value.get("class_path") if isinstance(value, dict) else None
        if path is not None:
            spec = registered(KINDS[key], path)
            if key == "model":
                self.model = spec
            else:
                self.data = spec

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
        config = self._take(_config(str(self.run_dir / "config.yaml")))
        self.model, self.data = asked[0] or self.model, asked[1] or self.data
        return ["--config", json.dumps(config)]

    def recipe(self) -> list[str]:
        """Return the chosen model's own defaults as parser arguments, the lowest layer of the configuration."""
        if self.model is None:
            return []
        folder = folder_of(self.model.target)
        own = self.model.card.get("name") == self.model.name  # a recipe belongs to the method of its folder
        path = folder / "configs" / "default.yaml" if folder and own else None
        config = _config(str(path)) if path and path.is_file() else {}
        config["model"] = _expand_value("model", config.get("model", {}) | {"class_path": self.model.class_path})
        if "data" not in config and self.model.card.get("data"):
            config["data"] = str(self.model.card["data"])
        if "data" in config:
            config["data"] = _expand_value("data", config["data"])
            if self.data is None:
                self._choose("data", config["data"])
        return ["--config", json.dumps(config)]


def split_flags(args: Iterable[str], known: set[str]) -> tuple[set[str], list[str]]:
    """Separate switches that a verb knows from its other arguments."""
    flags = {a for a in args if a in known}
    return flags, [a for a in args if a not in known]


def registered(kind: str, class_path: str) -> Spec:
    """Return the plug-in with this import path, without importing it.

    Raises:
        PluginError: No installed package registers it; what is not registered is never imported.
    """
    for spec in specs(kind):
        if spec.class_path == class_path:
            return spec
    group = "medzoo.models" if kind == "model" else "medzoo.datamodules"
    raise PluginError(f"{class_path!r} is not registered; a package must list it as an entry point of {group!r}")


def _expand(key: str, value: str) -> str:
    """Return the class path that a name stands for; a registered class path stays."""
    if "." in value.rpartition(":")[2]:
        return registered(KINDS[key], value).class_path
    return find(KINDS[key], value).class_path


def _expand_value(key: str, value: Any) -> Any:
    if isinstance(value, str):
        return {"class_path": _expand(key, value)}
    if isinstance(value, dict) and isinstance(value.get("class_path"), str):
        return {**value, "class_path": _expand(key, value["class_path"])}
    return value


def _config(name: str) -> dict[str, Any]:
    """Read a configuration file, or a packaged one named `model/recipe` such as `uod/paper`."""
    import yaml

    path = Path(name)
    if not path.is_file():
        path = _packaged(name)
    if path.stat().st_size > _MAX_CONFIG_BYTES:
        raise ConfigError(f"--config {name}: larger than {_MAX_CONFIG_BYTES} bytes, so no configuration of medzoo")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        loaded = yaml.load(path.read_text(encoding="utf8"), Loader=loader)  # noqa: S506 - both are safe loaders
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first = " ".join(str(error).split())[:200]
        raise ConfigError(f"--config {name}: not valid YAML: {first}") from error
    if not isinstance(loaded, dict):
        raise ConfigError(f"--config {name}: expected keys such as model, data, trainer; got {type(loaded).__name__}")
    return loaded


def _packaged(name: str) -> Path:
    model, _, recipe = name.partition("/")
    if not recipe or "/" in recipe or name.endswith((".yaml", ".yml", ".json")):
        raise ConfigError(f"--config {name}: no such file")
    folder = folder_of(find("model", model).target)
    configs = folder / "configs" if folder else Path()
    path = configs / f"{recipe}.yaml"
    if not path.is_file():
        known = sorted(f"{model}/{p.stem}" for p in configs.glob("*.yaml")) if folder else []
        raise ConfigError(f"--config {name}: no such file or packaged recipe; known: {', '.join(known) or 'none'}")
    return path


def split_equals(args: list[str], flags: tuple[str, ...]) -> list[str]:
    """Write `--flag=value` as two arguments for the flags that are read here."""
    out: list[str] = []
    for arg in args:
        flag, equals, value = arg.partition("=")
        out += [flag, value] if equals and flag in flags else [arg]
    return out


def take_value(flag: str, queue: list[str]) -> str:
    """Take the value of a flag from the arguments after it."""
    if not queue or queue[0].startswith("--"):
        raise ConfigError(f"{flag}: needs a value")
    return queue.pop(0)


def _known(kind: str) -> str:
    from medzoo.core.registry import names

    return f"known: {', '.join(names(kind)) or 'none, install a package such as medzoo-landmark'}"


def closest(word: str, words: Iterable[str]) -> str:
    """Return `"; did you mean X?"` where one of `words` is near, else nothing."""
    close = get_close_matches(word, list(words), n=1)
    return f"; did you mean {close[0]}?" if close else ""
