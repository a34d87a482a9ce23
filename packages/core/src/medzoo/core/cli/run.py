"""`medzoo fit | validate | test | predict`: from a request to a run."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medzoo.core.cli.request import Request, registered
from medzoo.core.errors import CheckpointError, ConfigError
from medzoo.core.registry import Spec, load, specs


def run(request: Request) -> None:
    """Carry out a request and print what came of it."""
    arguments = _from_checkpoint(request) if request.ckpt_path else []
    if request.model is None:
        if "--help" in request.switches:
            from medzoo.core.cli.help_page import print_usage

            print_usage(request.verb)
            return
        raise ConfigError("missing --model NAME")
    model_class = load(request.model)
    arguments = request.recipe() + arguments + request.arguments
    _quiet_libraries()
    if "--help" in request.switches:
        from medzoo.core.cli.help_page import print_help

        print_help(request, model_class)
        return
    if request.verb in ("validate", "test", "predict") and request.ckpt_path is None:
        raise ConfigError(f"medzoo {request.verb} needs --ckpt_path FILE, such as runs/…/checkpoints/last.ckpt")
    if "--tensorboard" in request.switches and not (find_spec("tensorboard") or find_spec("tensorboardX")):
        raise ConfigError("--tensorboard needs a package that is not installed: pip install tensorboard")
    from medzoo.core.cli.parser import MedzooCLI, Parser

    Parser.classes = {"model": model_class} | ({"data": load(request.data)} if request.data else {})
    owners = {s.target.partition(":")[0].partition(".")[0] for kind in ("model", "datamodule") for s in specs(kind)}
    trusted = sorted(owner for owner in owners if owner.isidentifier())
    cli = MedzooCLI(arguments, trusted)
    _start(request, cli)


def _start(request: Request, cli: Any) -> None:
    """Build the parts, choose the folder, run the verb, and leave nothing behind where it fails before training."""
    from medzoo.core.runs import folder as folders
    from medzoo.core.runs.allocator import keep_freed_memory
    from medzoo.core.runs.progress import OnceItTrains
    from medzoo.core.runs.results import print_table, write_environment
    from medzoo.core.runs.runner import Run

    data_spec = registered("datamodule", cli.config.data.class_path) if cli.config.data else None
    if data_spec is None or request.model is None:
        raise ConfigError("missing --data NAME")
    datamodule = cli.build_data()
    model = cli.build_model({})
    keep_freed_memory(large_blocks=getattr(model, "keeps_large_blocks", False))
    terminal = sys.stdout.isatty() and "--quiet" not in request.switches
    resume = "--resume" in request.switches
    dry = bool(cli.config.trainer.fast_dev_run)
    folder, fresh = _folder(request, data_spec, dry)
    folders.announce(folder)
    seed = int(cli.config.seed_everything or 0)

    def record() -> None:
        if folders.is_first_process():
            _write_config(folder, cli)
            write_environment(folder, seed, str(cli.config.trainer.accelerator))

    run_ = Run(
        model=request.model.name,
        data=data_spec.name,
        seed=seed,
        folder=folder,
        build_model=cli.build_model,
        build_trainer=_trainer_builder(request, cli, terminal, folder, [OnceItTrains(record)] if resume else []),
        datamodule=datamodule,
        epochs=cli.config.trainer.max_epochs,
        echo=not terminal and "--quiet" not in request.switches,
        resume=resume,
    )
    try:
        if not resume:
            record()
        if request.verb == "fit":
            metrics = run_.fit(model, request.ckpt_path)
        elif request.verb == "predict":
            path = run_.predict(model, str(request.ckpt_path))
            metrics = {}
            if folders.is_first_process():
                print(f"predictions: {path}")
        else:
            metrics = run_.evaluate(request.verb, model, str(request.ckpt_path))
    except BaseException:
        if fresh and folders.is_first_process() and not any(folder.rglob("*.ckpt")):
            folders.discard(folder, numbered=request.run_dir is None and not dry)
        raise
    finally:
        folders.announce(None)
    if folders.is_first_process():
        print_table(f"{run_.model} on {run_.data}", metrics)
        if dry:
            print("fast_dev_run: one batch of everything went through; nothing is kept")
            folders.discard(folder, numbered=False)
        else:
            print(f"run folder: {folder}")


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


def _write_config(folder: Path, cli: Any) -> None:
    from medzoo.core.io import replacing

    with replacing(folder / "config.yaml") as part:
        part.write_text(cli.resolved(), encoding="utf8")


def _trainer_builder(request: Request, cli: Any, terminal: bool, folder: Path, callbacks: list[Any]) -> Any:
    from medzoo.core.runs.checkpoint_io import SafeCheckpointIO

    def build(overrides: dict[str, Any]) -> Any:
        fixed: dict[str, Any] = {"plugins": [SafeCheckpointIO()], "use_distributed_sampler": False}
        if not terminal:
            fixed |= {"enable_progress_bar": False, "enable_model_summary": False}
        if "--tensorboard" in request.switches:
            from lightning.pytorch.loggers import TensorBoardLogger

            fixed["logger"] = TensorBoardLogger(str(folder), name="tensorboard", version="")
        elif cli.config.trainer.logger is None:
            fixed["logger"] = False  # metrics.csv is written anyway
        fixed["callbacks"] = [*overrides.get("callbacks", []), *callbacks]
        return cli.build_trainer({**overrides, **fixed})

    return build


def _from_checkpoint(request: Request) -> list[str]:
    """The settings in a checkpoint as parser arguments, so that the command line wins over them."""
    from medzoo.core.runs.checkpoint_io import read_checkpoint

    assert request.ckpt_path is not None
    checkpoint = read_checkpoint(request.ckpt_path)
    arguments: list[str] = []
    for key, kind, entry in (
        ("model", "model", "hyper_parameters"),
        ("data", "datamodule", "datamodule_hyper_parameters"),
    ):
        saved = dict(checkpoint.get(entry, {}))
        saved.pop("_instantiator", None)
        path = saved.pop("_class_path", None)
        chosen = request.model if key == "model" else request.data
        if path is None:
            continue
        spec = registered(kind, str(path))
        if chosen is not None and chosen.class_path != spec.class_path:
            if key == "model":
                raise CheckpointError(f"{request.ckpt_path}: made by {spec.name}, asked for {chosen.name}")
            continue
        if key == "model":
            request.model = spec
        else:
            request.data = spec
        arguments += ["--config", json.dumps({key: {"class_path": spec.class_path, "init_args": saved}})]
    if request.model is None:
        raise CheckpointError(f"{request.ckpt_path}: does not tell its model; add --model NAME")
    return arguments


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
        r".*Total length of `list` across ranks is zero.*",
        r".*You passed in a `val_dataloader` but have no `validation_step`.*",
        r".*callbacks used to create the checkpoint need to be provided.*",
        r".*You are using a custom batch sampler.*",
        r".*It is recommended to use `self.log\(.*sync_dist=True\)`.*",  # metrics reduce themselves
    ):
        warnings.filterwarnings("ignore", message=text)
