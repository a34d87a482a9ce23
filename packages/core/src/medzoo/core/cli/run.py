"""`medzoo fit | validate | test | predict`: from a request to a run."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from medzoo.core.cli.request import Request, is_url
from medzoo.core.distributed import is_first_process, print_once
from medzoo.core.errors import CheckpointError, ConfigError, DataError, MedzooError, PluginError, first_line
from medzoo.core.registry import Spec, load, registered

if TYPE_CHECKING:
    from lightning.pytorch import Callback, Trainer

    from medzoo.core.cli.parser import MedzooCLI
    from medzoo.core.runs.parts import TrainerBuilder, TrainerOptions

_DECIDED: dict[str, tuple[object, str]] = {
    "default_root_dir": (None, "a run's folder is --run_dir DIR"),
    "use_distributed_sampler": (True, "every process gets its own share of the data"),
    "enable_checkpointing": (None, "a run always keeps its checkpoints"),
    "barebones": (False, "a run always keeps its checkpoints"),
}
"""Options of the trainer that a run decides itself: their values where nobody sets them, and what to do instead."""


def run(request: Request) -> None:
    """Carry out a request and print what came of it."""
    from medzoo.core.runs.weights import located

    request.ckpt_path = request.ckpt_path and located(request.ckpt_path)
    request.init_from = request.init_from and located(request.init_from)
    if any(map(is_url, request.start.values())):  # noted as what was fetched, for a run may go on without a network
        found = {"ckpt_path": request.ckpt_path, "init_from": request.init_from}
        request.start = {name: found[name] or path for name, path in request.start.items()}
    if request.init_from is not None and request.verb != "fit":
        raise ConfigError(f"--init_from starts a training; medzoo {request.verb} takes --ckpt_path FILE")
    arguments, sized = _from_checkpoint(request)
    if request.model is None:
        raise ConfigError("missing --model NAME")
    from medzoo.core.runs.packed import is_packed

    model_class = load(request.model)
    arguments = request.recipe() + arguments + request.arguments
    _quiet_libraries()
    if "--help" in request.switches:
        from medzoo.core.cli.help_page import print_help

        print_help(request, model_class)
        return
    if request.verb == "fit" and request.ckpt_path is not None and is_packed(request.ckpt_path):
        raise ConfigError(
            f"--ckpt_path {request.ckpt_path}: packed weights hold no training to continue; start one with --init_from"
        )
    if request.verb in ("validate", "test", "predict") and request.ckpt_path is None:
        raise ConfigError(f"medzoo {request.verb} needs --ckpt_path FILE, such as runs/…/checkpoints/last.ckpt")
    from medzoo.core.cli.parser import MedzooCLI

    classes = {"model": model_class} | ({"data": load(request.data)} if request.data else {})
    try:
        cli = MedzooCLI(arguments, classes)
    except SystemExit:  # the configuration is printed
        sys.stdout.write(request.options_of_run())
        raise
    except ConfigError as error:
        option = re.search(r"--[a-z][\w.]*", str(error))
        given = option is not None and any(argument.startswith(option[0]) for argument in request.arguments)
        if "--resume" not in request.switches or request.run_dir is None or given:
            raise
        raise ConfigError(f"{request.run_dir / 'config.yaml'}: {error}") from error
    _start(request, cli, sized)


def _from_checkpoint(request: Request) -> tuple[list[str], AbstractContextManager[object]]:
    if not (request.ckpt_path or request.init_from):
        return [], nullcontext()
    from medzoo.core.cli.checkpoints import settings_of_checkpoint

    return settings_of_checkpoint(request)


def _start(request: Request, cli: MedzooCLI, sized: AbstractContextManager[object]) -> None:
    """Build the parts, choose the folder, run the verb, and leave nothing behind where it fails before training."""
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from medzoo.core.cli.cohorts import build_test_sets
    from medzoo.core.runs import folder as folders
    from medzoo.core.runs.allocator import keep_freed_memory
    from medzoo.core.runs.callbacks import LAST
    from medzoo.core.runs.progress import OnceItTrains
    from medzoo.core.runs.results import print_table, write_environment
    from medzoo.core.runs.runner import Run

    data_spec = registered("datamodule", cli.config.data.class_path) if cli.config.data else None
    if data_spec is None or request.model is None:
        raise ConfigError("missing --data NAME")
    _test_all_of_another_set(request, cli)
    for option, (unset, instead) in _DECIDED.items():
        if cli.config.trainer[option] != unset:
            raise ConfigError(f"--trainer.{option}: cannot be set here; {instead}")
    with _built_for(request):
        datamodule = cli.build_data({})
        test_sets = build_test_sets(cli, request.test_sets)
        with sized:
            model = cli.build_model({})
    keep_freed_memory(large_blocks=getattr(model, "keeps_large_blocks", False))
    terminal = sys.stdout.isatty() and "--quiet" not in request.switches
    resume = "--resume" in request.switches
    dry = bool(cli.config.trainer.fast_dev_run)
    folder, fresh = _folder(request, data_spec, dry)
    folders.share_run_folder(folder)
    seed = int(cli.config.seed_everything or 0)

    def record() -> None:
        if is_first_process():
            _write_config(folder, cli.resolved() + request.options_of_run())
            write_environment(folder, seed, str(cli.config.trainer.accelerator))

    run_ = Run(
        model=request.model.name,
        data=data_spec.name,
        seed=seed,
        folder=folder,
        build_model=cli.build_model,
        build_trainer=_trainer_builder(request, cli, terminal, folder, [OnceItTrains(record)] if resume else []),
        datamodule=datamodule,
        test_sets=test_sets,
        epochs=cli.config.trainer.max_epochs,
        steps=cli.config.trainer.max_steps if cli.config.trainer.max_steps not in (None, -1) else None,
        init_from=request.init_from,
        frozen=request.frozen,
        echo=not terminal and "--quiet" not in request.switches,
        bar=_bar(cli, terminal),
        resume=resume,
    )
    try:
        run_.check(request.verb)
        if not resume:
            record()
        if request.verb == "fit":
            metrics = run_.fit(model, request.ckpt_path)
        elif request.verb == "predict":
            root = (cli.config.data.init_args or {}).get("root")
            print_once(f"predicting on {data_spec.name}{f' in {root}' if root else ''}{_whose(request)}")
            path = run_.predict(model, str(request.ckpt_path))
            metrics = {}
            print_once(f"predictions: {path}")
        else:
            metrics = run_.evaluate(request.verb, model, str(request.ckpt_path))
    except BaseException as error:
        if fresh and is_first_process() and not any(folder.rglob("*.ckpt")):
            folders.discard(folder, numbered=request.run_dir is None and not dry)
        if isinstance(error, MisconfigurationException):  # Lightning's word for options that do not go together
            raise ConfigError(f"--trainer: {first_line(error)}") from error
        if isinstance(error, Exception) and not isinstance(error, MedzooError) and _of_callback(error):
            raise ConfigError(f"--trainer.callbacks: {first_line(error)}") from error
        if isinstance(error, ConfigError) and request.ckpt_path and not _names_settings(request):
            raise CheckpointError(f"{request.ckpt_path}: {error}") from error  # all settings are the checkpoint's
        raise
    finally:
        folders.share_run_folder(None)
    if is_first_process():
        weights = LAST if request.verb == "fit" else request.ckpt_path
        print_table(f"{run_.model} on {run_.data}, weights of {weights}", metrics)
        if dry:
            print_once("fast_dev_run: one batch of everything went through; nothing is kept")
            folders.discard(folder, numbered=False)
        else:
            print_once(f"run folder: {folder}")


def _of_callback(error: Exception) -> bool:
    """Return whether one of Lightning's callbacks raised an error, such as one that watches a value nobody logs."""
    trace, module = error.__traceback__, ""
    while trace is not None:
        module, trace = trace.tb_frame.f_globals.get("__name__", ""), trace.tb_next
    return module.startswith("lightning.pytorch.callbacks.")


def _bar(cli: MedzooCLI, terminal: bool) -> bool:
    """Return whether to show medzoo's bars: on a terminal or where asked for, unless the user has given others."""
    given = cli.config.trainer.callbacks or []
    names = [str(part.get("class_path")) for part in (given if isinstance(given, list) else [given])]
    asked = cli.config.trainer.enable_progress_bar
    return (terminal if asked is None else bool(asked)) and not any("ProgressBar" in name for name in names)


@contextmanager
def _built_for(request: Request) -> Iterator[None]:
    """Report an impossible setting as a fault of the checkpoint, unless the command itself gives it."""
    from medzoo.core.runs.schema import CHANGED

    try:
        yield
    except (CheckpointError, DataError, PluginError):
        raise
    except Exception as error:
        named = re.search(r"--[a-z]+\.\w+", str(error))
        if request.ckpt_path is None or _names_settings(request, named[0] if named else ""):
            raise
        reason = first_line(error) if isinstance(error, MedzooError) else f"its settings cannot be: {first_line(error)}"
        raise CheckpointError(f"{request.ckpt_path}: {reason.removeprefix('--data: ')}; {CHANGED}") from error


def _names_settings(request: Request, option: str = "") -> bool:
    """Return whether the command itself gives a setting of model or data, or one that begins with `option`."""
    begin = option or ("--model", "--data")
    return "--config" in request.arguments or any(argument.startswith(begin) for argument in request.arguments)


def _test_all_of_another_set(request: Request, cli: MedzooCLI) -> None:
    """Have a test use all images of a folder that the checkpoint was not trained on, where no option says otherwise."""
    from medzoo.core.cli.cohorts import say_part

    settings = cli.config.data.init_args
    given = any(argument.startswith("--data.all_test") for argument in request.arguments)
    if request.verb != "test" or given or settings.get("root") is None:
        return
    trained = request.trained_on
    if trained is not None and Path(trained).resolve() == Path(settings["root"]).resolve():
        return
    if "all_test" not in settings:
        say_part(settings, settings["root"])
    else:
        settings["all_test"] = True
        print_once(f"testing {settings['root']} as an external cohort; --data.all_test false tests a part of it only")


def _whose(request: Request) -> str:
    """Return a hint where no data are named, so that a prediction is of what the checkpoint was trained with."""
    named = any(a == "--data" or a.startswith("--data.") for a in request.arguments)
    return "" if named or request.configures_data else ", the data of the training; --data and --data.root name others"


def _folder(request: Request, data: Spec, dry: bool) -> tuple[Path, bool]:
    """Return the run folder and whether this run made it."""
    from medzoo.core.runs import folder as folders

    assert request.model is not None
    if dry:
        import tempfile

        return Path(tempfile.mkdtemp(prefix="medzoo-dry-run-")), True
    if request.run_dir is not None:
        fresh = not os.path.lexists(request.run_dir)  # unlike `exists`, no error where the name is too long
        return folders.given_run_folder(request.run_dir, "--resume" in request.switches), fresh
    return folders.new_run_folder(request.model.name, data.name), True


def _write_config(folder: Path, config: str) -> None:
    from medzoo.core.io import replacing

    with replacing(folder / "config.yaml") as part:
        part.write_text(config, encoding="utf8")


def _trainer_builder(
    request: Request, cli: MedzooCLI, terminal: bool, folder: Path, callbacks: list[Callback]
) -> TrainerBuilder:
    from medzoo.core.runs.checkpoint_io import SafeCheckpointIO
    from medzoo.core.runs.loggers import build_loggers

    def build(overrides: TrainerOptions) -> Trainer:
        fixed: dict[str, object] = {"plugins": [SafeCheckpointIO()], "use_distributed_sampler": False}
        if not terminal:
            names = ("enable_progress_bar", "enable_model_summary")
            fixed |= {name: False for name in names if cli.config.trainer[name] is None}
        if request.loggers:
            own = Path(overrides.get("default_root_dir", folder))  # that of a stage, where it has one
            parts = (request.model, request.data)
            name = " ".join([part.name for part in parts if part is not None] + [own.name])
            fixed["logger"] = build_loggers(request.loggers, own, name)
        elif cli.config.trainer.logger is None:
            fixed["logger"] = False  # metrics.csv is written anyway
        fixed["callbacks"] = [*overrides.get("callbacks", []), *callbacks]
        return cli.build_trainer({**overrides, **fixed})

    return build


def _quiet_libraries() -> None:
    """Keep advertisements and advice about what medzoo decides itself off the terminal."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # set when Lightning is imported, so afterwards
    for text in (
        r".*does not have many workers.*",
        r".*smaller than the logging interval.*",
        r".*tensorboardX.*",
        r".*defined a `validation_step` but have no `val_dataloader`.*",
        r".*Checkpoint directory .* exists and is not empty.*",
        r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",
        r".*Discarding init_args.*",
        r"(?s).*Unable to serialize instance.*",
        r".*Total length of `list` across ranks is zero.*",
        r".*You passed in a `val_dataloader` but have no `validation_step`.*",
        r".*callbacks used to create the checkpoint need to be provided.*",
        r".*You are using a custom batch sampler.*",
        r".*It is recommended to use `self.log\(.*sync_dist=True\)`.*",  # metrics reduce themselves
    ):
        warnings.filterwarnings("ignore", message=text)
