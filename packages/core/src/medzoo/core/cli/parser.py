"""LightningCLI with medzoo's defaults: one verb, classes by name, one-line errors, checkpoints as defaults."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn, cast

import yaml
from jsonargparse import Namespace, set_dumper, set_loader, set_parsing_settings
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.strategies import StrategyRegistry

from medzoo.core.cli.messages import cause_of, one_line
from medzoo.core.cli.request import is_url
from medzoo.core.errors import CheckpointError, ConfigError, check_choice, first_line
from medzoo.core.registry import specs
from medzoo.core.safe_yaml import read_yaml, write_yaml
from medzoo.core.seams import keep_settings, options_of, read_numbers_with, seed_as_asked

TRUSTED = [
    *(
        f"lightning.pytorch.{part}"
        for part in ("callbacks", "loggers", "profilers", "strategies", "plugins", "accelerators")
    ),
    "lightning.pytorch.trainer.Trainer",
    "lightning.pytorch.Trainer",
    "datetime",
    "pathlib",
]
"""What a configuration may name beside registered classes: the parts of the trainer, and types of values.

Code may add to it (the watcher of the contract does so); a configuration or a checkpoint cannot.
"""


_MOST_PROCESSES = 1024
_SPAWNING = re.compile("spawn|fork|notebook")
_LEAST = {
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "gradient_clip_val": 0,
    "limit_train_batches": 1e-9,
    "log_every_n_steps": 0,
    "max_epochs": 1,
    "max_steps": 1,
    "num_sanity_val_steps": 0,
    "val_check_interval": 1e-9,
}
"""Least numbers of the trainer's options of which Lightning takes less and then divides by it, or trains nothing."""


def _restrict() -> None:
    """Let parsers import registered classes and parts of the trainer only, contact no server, and read bounded YAML."""
    known = {spec.class_path for kind in ("model", "datamodule", "selector") for spec in specs(kind)}
    registered = sorted(path for path in known if all(part.isidentifier() for part in path.split(".")))
    set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=[*TRUSTED, *registered],
        config_read_mode_urls_enabled=False,
        config_read_mode_fsspec_enabled=False,  # which Lightning switches on
    )
    set_loader("medzoo", read_yaml, exceptions=(yaml.YAMLError,))
    set_dumper("medzoo", write_yaml)
    read_numbers_with(read_yaml)


def _check_local(value: object, where: str = "") -> None:
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


def _check_finite(value: object, where: str) -> None:
    """Refuse a setting of a model or data module that is infinite or no number, such as `1e400`.

    Raises:
        ConfigError: A number is not finite.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"--{where}: expected a number with an end, got {value}")
    for key, inner in value.items() if isinstance(value, dict) else ():
        _check_finite(inner, where if key == "init_args" else f"{where}.{key}")
    for inner in value if isinstance(value, list | tuple) else ():
        _check_finite(inner, where)


def _check_processes(trainer: Namespace) -> None:
    """Refuse more processes than any machine has places for: Lightning would start each of them.

    Raises:
        ConfigError: Devices or nodes are more than 1024.
    """
    for option in ("devices", "num_nodes"):
        value = trainer.get(option)
        number = len(value) if isinstance(value, list) else value
        if isinstance(number, str) and number.isdecimal():
            number = int(number[:9])
        if isinstance(number, int) and number > _MOST_PROCESSES:
            raise ConfigError(f"--trainer.{option}: expected at most {_MOST_PROCESSES}, got {str(value)[:20]}")


def _check_least(trainer: Namespace) -> None:
    """Refuse numbers with which nothing could be trained; −1 stands for no limit.

    Raises:
        ConfigError: A number is too small.
    """
    for option, least in _LEAST.items():
        value = trainer.get(option)
        endless = value == -1 and option in ("max_epochs", "max_steps", "num_sanity_val_steps")
        if isinstance(value, int | float) and value < least and not endless:
            wanted = f"at least {least}" if least in (0, 1) else "more than 0"
            raise ConfigError(f"--trainer.{option}: expected {wanted}, got {value}")


def _check_names(trainer: Namespace) -> None:
    """Refuse a name of a part of the trainer that Lightning lacks, before anything is written.

    Raises:
        ConfigError: The name is unknown; the message has the known ones.
    """
    known = {
        "accelerator": ["auto", "gpu", *sorted(AcceleratorRegistry.available_accelerators())],
        "profiler": ["simple", "advanced", "pytorch", "xla"],
        # The others hand the weights of a training on in a file of their own.
        "strategy": ["auto", *(s for s in StrategyRegistry.available_strategies() if not _SPAWNING.search(s))],
    }
    for option, names in known.items():
        if isinstance(trainer.get(option), str):
            check_choice(f"trainer.{option}", trainer[option], names)


class Parser(LightningArgumentParser):
    """A parser whose errors are one line that names the option and the nearest spelling."""

    classes: ClassVar[Mapping[str, type]] = {}
    """The classes behind the groups `model` and `data`, whose options nested errors are about; see `parser_of`."""

    def __init__(self, **options: Any) -> None:
        _restrict()
        super().__init__(**{"parser_mode": "medzoo", **options})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise `ConfigError` with the message in one line."""
        options = [option for action in options_of(self) for option in action.option_strings]
        raise ConfigError(one_line(" ".join(message.split()), options, self.classes)) from ex


def parser_of(classes: Mapping[str, type]) -> type[Parser]:
    """Return the class of parsers of some classes; jsonargparse makes those inside a parser of the same class.

    Args:
        classes: By group: `model`, `data` or `selector`.
    """
    return type("Parser", (Parser,), {"classes": dict(classes)})


def check_settings(key: str, loaded: type, settings: dict[str, object], kind: type[Parser] = Parser) -> None:
    """Check `__init__` arguments against their types; the parser itself lets nothing pass for anything.

    Args:
        key: `model` or `data`, for the message.
        loaded: The class.
        settings: Arguments; those that are absent keep their defaults.
        kind: What words the errors.

    Raises:
        ConfigError: The class has no such argument, or it is of another type.
    """
    parser = kind(prog="medzoo", add_help=False)
    parser.add_class_arguments(loaded, key, fail_untyped=False)
    try:
        parser.validate(Namespace({key: Namespace(settings)}), skip_none=False, skip_required=True)
    except (TypeError, ValueError, KeyError) as error:
        parser.error(str(error), error)


class MedzooCLI(LightningCLI):
    """LightningCLI that parses once and builds model, data and trainer when the runner asks for them.

    Args:
        arguments: Arguments for the parser, see `Request.arguments`.
        classes: Those of the model and of the data module, where they are known.
    """

    def __init__(self, arguments: list[str], classes: Mapping[str, type]) -> None:
        self.arguments, self.parser_kind = arguments, parser_of(classes)
        super().__init__(
            LightningModule,
            LightningDataModule,
            save_config_callback=None,
            seed_everything_default=0,
            parser_class=self.parser_kind,
            parser_kwargs={"prog": "medzoo", "allow_abbrev": False, "add_help": False},
            subclass_mode_model=True,
            subclass_mode_data=True,
            args=arguments,
            run=False,
            auto_configure_optimizers=False,
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse without LightningCLI's warning about a command line beside it."""
        self.config = parser.parse_args(cast(list[str], args))
        seed = self.config.seed_everything
        if type(seed) is int and not 0 <= seed < 2**32:
            raise ConfigError(f"--seed_everything: expected a number from 0 to {2**32 - 1}, got {str(seed)[:20]}")
        _check_local(self.config.as_dict())
        for part in ("model", "data"):
            _check_finite(self.config.as_dict().get(part), part)
        _check_processes(self.config.trainer)
        _check_names(self.config.trainer)
        _check_least(self.config.trainer)
        for key, loaded in self.parser_kind.classes.items():
            if self.config.get(key):
                check_settings(key, loaded, dict(self.config[key].get("init_args") or {}), self.parser_kind)
        keep_settings(self)

    def instantiate_classes(self) -> None:
        """Build nothing yet: a method in stages builds its model and trainer once for each stage."""

    def build_data(self, replaced: dict[str, object]) -> LightningDataModule:
        """Build the data module with some of its `__init__` arguments replaced."""
        data = self.config.data.clone()
        for key, value in replaced.items():
            data.init_args[key] = value
        before, self.config_dump = self.config_dump, {**self.config_dump, "data": data.as_dict()}  # see `build_model`
        built: LightningDataModule = self._built(Namespace(data=data), "data")
        self.config_dump = before
        return built

    def build_model(self, replaced: dict[str, object]) -> LightningModule:
        """Build the model with some `__init__` arguments replaced, its weights drawn from the run's seed."""
        seed_as_asked(self)
        model = self.config.model.clone()
        for key, value in replaced.items():
            model.init_args[key] = value
        # LightningCLI saves hyper-parameters from this dump, which must have the replaced values.
        self.config_dump = {**self.config_dump, "model": model.as_dict()}
        built: LightningModule = self._built(Namespace(model=model), "model")
        return built

    def build_trainer(self, replaced: dict[str, object]) -> Trainer:
        """Build a trainer; `callbacks` and `plugins` are added to the user's."""
        built = self._built(Namespace(trainer=self.config.trainer.clone()), "trainer").as_dict()
        for key, value in replaced.items():
            built[key] = [*_as_list(built.get(key)), *_as_list(value)] if key in ("callbacks", "plugins") else value
        try:
            return Trainer(**built)
        except (ValueError, TypeError, ImportError, MisconfigurationException) as error:
            raise ConfigError(f"--trainer: {first_line(error)}") from error

    def _built(self, config: Namespace, key: str) -> Any:
        try:
            return self.parser.instantiate_classes(self._filled(config))[key]
        except (ValueError, TypeError, MisconfigurationException) as error:
            inner: BaseException | None = error
            while inner is not None:  # the parsing library puts its own around it
                if isinstance(inner, CheckpointError):
                    raise inner from error
                inner = inner.__cause__ or inner.__context__
            raise ConfigError(f"--{key}: {cause_of(error)}") from error

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


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [] if value is None else [value]
