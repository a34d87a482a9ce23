"""LightningCLI with medzoo's defaults: one verb, classes by name, one-line errors, checkpoints as defaults."""

from __future__ import annotations

import json
import re
from inspect import signature
from typing import Any, ClassVar, NoReturn

import yaml
from jsonargparse import Namespace, set_dumper, set_loader, set_parsing_settings
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from medzoo.core.cli.request import closest, is_url
from medzoo.core.errors import ConfigError, first_line
from medzoo.core.registry import specs
from medzoo.core.safe_yaml import read_yaml, write_yaml
from medzoo.core.seams import keep_settings, options_of, seed_as_asked

_TRUSTED = [
    *(
        f"lightning.pytorch.{part}"
        for part in ("callbacks", "loggers", "profilers", "strategies", "plugins", "accelerators")
    ),
    "lightning.pytorch.trainer.Trainer",
    "lightning.pytorch.Trainer",
    "medzoo.core.testing.replay",  # the watchers of the contract
    "medzoo.core.testing.watch",
    "datetime",
    "pathlib",
]
"""What a configuration may name beside registered classes: the parts of the trainer, and types of values."""


def _restrict() -> None:
    """Let parsers import registered classes and parts of the trainer only, contact no server, and read bounded YAML."""
    known = {spec.class_path for kind in ("model", "datamodule", "selector") for spec in specs(kind)}
    registered = sorted(path for path in known if all(part.isidentifier() for part in path.split(".")))
    set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=[*_TRUSTED, *registered],
        config_read_mode_urls_enabled=False,
        config_read_mode_fsspec_enabled=False,  # which Lightning switches on
    )
    set_loader("medzoo", read_yaml, exceptions=(yaml.YAMLError,))
    set_dumper("medzoo", write_yaml)


def _check_local(value: Any, where: str = "") -> None:
    """Refuse an address of a server anywhere in a configuration: parts of the trainer would connect to it.

    Raises:
        ConfigError: A text is a URL.
    """
    if isinstance(value, str) and is_url(value):
        raise ConfigError(f"--{where}: {value[:100]} is on a server; only local files and folders are used")
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_local(inner, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_local(inner, where)


class Parser(LightningArgumentParser):
    """A parser whose errors are one line that names the option and the nearest spelling."""

    classes: ClassVar[dict[str, type]] = {}
    """The classes behind the groups `model` and `data`, whose options nested errors are about."""

    def __init__(self, **options: Any) -> None:
        _restrict()
        super().__init__(**{"parser_mode": "medzoo", **options})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise `ConfigError` with the message in one line."""
        raise ConfigError(self._one_line(" ".join(message.split()))) from ex

    def _one_line(self, text: str) -> str:
        """Rewrite a message of the outer parser; those of inner ones arrive here again inside an outer one."""
        if found := re.search(r"[Uu]nrecognized arguments?: (\S+)", text):
            option = found[1].partition("=")[0]
            return f"no option {option}{closest(option, [o for a in options_of(self) for o in a.option_strings])}"
        if found := re.search(r'(?:Key|Option) ["\'](\S+?)["\'] is required', text):
            return f"missing --{found[1]}"
        head = re.match(r'Parser key "((?:model|data|trainer|seed|selector)[\w.]*)": (.*)', text)
        if head is None:
            alone = re.fullmatch(r"Option '(\w+)' is not accepted", text)
            top = ["--model", "--data", "--trainer", "--seed_everything"]
            return f"no option --{alone[1]}{closest('--' + alone[1], top)}" if alone else text
        key, rest = head[1], re.sub(r"^.*?Errors: - ", "", head[2])
        value = re.search(r"Given value: (\S+)$", rest)
        rest = re.sub(r" - Expected a <class 'NoneType'>.*$", "", rest)
        if found := re.search(r"no option --([\w.]+)", rest):  # as this parser worded it for the inner options
            return f"no option --{key}.{found[1]}{self._meant(key, found[1])}"
        while inner := re.match(r'Parser key "([\w.]+)": (.*)', rest):
            key, rest = f"{key}.{inner[1]}", re.sub(r"^.*?Errors: - ", "", inner[2])
        if denied := re.search(r"class_path '([\w.]+)'.*? is not allowed", rest):
            return f"--{key}: {denied[1]} is not allowed; name a class of medzoo, a plug-in or Lightning"
        got = re.search(r"Got value: (\S+)", rest) or value
        if choices := re.search(r"Expected a typing\.Literal\[(.*?)\]", rest):
            names = re.findall(r"'([^']*)'", choices[1])
            given = got[1] if got else "something else"
            return f"--{key}: expected one of {', '.join(names)}, got {given}{closest(given, names)}"
        if kinds := re.findall(r"Expected (?:a |an )?<class '(\w+)'>", rest):
            return f"--{key}: expected {' or '.join(dict.fromkeys(kinds))}, got {got[1] if got else 'something else'}"
        return f"--{key}: {rest}"

    def _meant(self, key: str, name: str) -> str:
        """Return what to write instead of an option that a class lacks."""
        if key not in self.classes:
            return ""
        parameters = signature(self.classes[key]).parameters.values()
        known = [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        if name == "root" and "root" not in known:
            return f"; {self.classes[key].__name__} reads no folder"
        stages = [f"--{key}.{option}" for option in known if option.endswith(f"_{name}")]  # match_lr for lr
        if stages:
            return f"; did you mean {' or '.join(stages)}?"
        return closest(f"--{key}.{name}", [f"--{key}.{option}" for option in known])


class MedzooCLI(LightningCLI):
    """LightningCLI that parses once and builds model, data and trainer when the runner asks for them.

    Args:
        arguments: Arguments for the parser, see `Request.arguments`.
    """

    def __init__(self, arguments: list[str]) -> None:
        self.arguments = arguments
        super().__init__(
            LightningModule,
            LightningDataModule,
            save_config_callback=None,
            seed_everything_default=0,
            parser_class=Parser,
            parser_kwargs={"prog": "medzoo", "allow_abbrev": False, "add_help": False},
            subclass_mode_model=True,
            subclass_mode_data=True,
            args=arguments,
            run=False,
            auto_configure_optimizers=False,
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse without LightningCLI's warning about a command line beside it."""
        self.config = parser.parse_args(args)
        seed = self.config.seed_everything
        if type(seed) is int and not 0 <= seed < 2**32:
            raise ConfigError(f"--seed_everything: expected a number from 0 to {2**32 - 1}, got {str(seed)[:20]}")
        _check_local(self.config.as_dict())
        keep_settings(self)

    def instantiate_classes(self) -> None:
        """Build nothing yet: a method in stages builds its model and trainer once for each stage."""

    def build_data(self) -> LightningDataModule:
        """Build the data module."""
        only = Namespace(data=self.config.data)
        built: LightningDataModule = self._built(only, "data")
        return built

    def build_model(self, replaced: dict[str, Any]) -> LightningModule:
        """Build the model with some `__init__` arguments replaced, its weights drawn from the run's seed."""
        seed_as_asked(self)
        model = self.config.model.clone()
        for key, value in replaced.items():
            model.init_args[key] = value
        # LightningCLI saves hyper-parameters from this dump, which must tell the replaced values.
        self.config_dump = {**self.config_dump, "model": model.as_dict()}
        built: LightningModule = self._built(Namespace(model=model), "model")
        return built

    def build_trainer(self, replaced: dict[str, Any]) -> Trainer:
        """Build a trainer; `callbacks` and `plugins` are added to the user's."""
        built = self._built(Namespace(trainer=self.config.trainer.clone()), "trainer").as_dict()
        for key, value in replaced.items():
            built[key] = [*_as_list(built.get(key)), *value] if key in ("callbacks", "plugins") else value
        try:
            return Trainer(**built)
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise ConfigError(f"--trainer: {first_line(error)}") from error

    def _built(self, config: Namespace, key: str) -> Any:
        try:
            return self.parser.instantiate_classes(self._filled(config))[key]
        except (ValueError, TypeError, MisconfigurationException) as error:
            found = re.search(r"Errors: - (.*?) - Expected a <class 'NoneType'>", " ".join(str(error).split()))
            raise ConfigError(f"--{key}: {found[1] if found else first_line(error)}") from error

    def _filled(self, part: Namespace) -> Namespace:
        """A configuration in which all but one part is absent, so that only this part is built."""
        empty = Namespace(dict.fromkeys(("config", "seed_everything", "model", "data")))
        empty.update(part)
        return empty

    def resolved(self) -> str:
        """Return the whole configuration as YAML that `--config` takes."""
        text: str = self.parser.dump(self.config, skip_none=False, skip_link_targets=False, format="json")
        loaded = json.loads(text)
        loaded.pop("config", None)
        return write_yaml(loaded)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
