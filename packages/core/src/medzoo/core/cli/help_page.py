"""The help page of a chosen model: its own options first, then the data's, then the everyday ones of the trainer."""

from __future__ import annotations

from argparse import SUPPRESS
from typing import Any

from medzoo.core.cli import VERBS
from medzoo.core.cli.parser import Parser
from medzoo.core.cli.request import Request
from medzoo.core.registry import load

_TRAINER = {
    "max_epochs": "epochs to train (default: what the model asks for)",
    "max_steps": "stop after this many steps (default: -1, no limit)",
    "max_time": "stop after this time, as DD:HH:MM:SS",
    "accelerator": "cpu, gpu, or auto (default)",
    "devices": "number of devices or processes (default: auto)",
    "strategy": "auto (default), ddp, ...",
    "precision": "32-true (default), bf16-mixed, 16-mixed",
    "fast_dev_run": "run one batch of everything and keep nothing (default: false)",
    "limit_train_batches": "batches an epoch, a number or a fraction (default: all)",
    "gradient_clip_val": "clip gradients to this norm (default: none)",
    "accumulate_grad_batches": "batches a step (default: 1)",
    "deterministic": "use deterministic algorithms only (default: false)",
    "check_val_every_n_epoch": "epochs between validations (default: 1)",
}
_GENERAL = """
run:
  --config FILE|NAME    configuration file, or a packaged recipe such as {model}/paper; may be repeated
  --print_config        print the resulting configuration and stop
  --seed_everything N   seed of weights, order and augmentation (default: 0)
  --run_dir DIR         folder of the run (default: runs/{model}/DATA/N)
  --resume              continue the newest run, or that in --run_dir, to the very weights of an uninterrupted one
  --ckpt_path FILE      take model, data settings and weights from a checkpoint
  --tensorboard         log for TensorBoard too
  --quiet               no bars and no lines an epoch
  --debug               show where an error came from
"""


def print_help(request: Request, model_class: type[Any]) -> None:
    """Print the options for the request's model and data module."""
    assert request.model is not None
    parser = Parser(
        prog="medzoo",
        usage=f"medzoo {request.verb} --model {request.model.name} [options]",
        description=request.model.summary,
        add_help=False,
    )
    parser.add_class_arguments(model_class, "model", fail_untyped=False)
    if request.data is not None:
        parser.add_class_arguments(load(request.data), "data", fail_untyped=False)
    tidy(parser)
    parser.print_help()
    width = max(map(len, _TRAINER)) + len("--trainer.") + 2
    print("\ntrainer:")
    for name, text in _TRAINER.items():
        print(f"  {'--trainer.' + name:<{width}}{text}")
    print(_GENERAL.format(model=request.model.name))


def print_usage(verb: str) -> None:
    """Print how to use a verb while no model is chosen."""
    chosen = "--model NAME" if verb == "fit" else "--ckpt_path FILE [--data NAME --data.root DIR]"
    print(f"usage: medzoo {verb} {chosen} [options]\n\n{VERBS[verb]}")
    print(_GENERAL.format(model="MODEL"))
    print(f"  medzoo {verb} --model NAME --help   the options of a model, its data and the trainer\n  medzoo list")


def tidy(parser: Parser) -> None:
    """Drop the entries that take a whole group from a file: `--config` does that."""
    for action in parser._actions:
        if action.dest in ("model", "data"):
            action.help = SUPPRESS
