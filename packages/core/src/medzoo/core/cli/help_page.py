"""The help page of a chosen model: its own options first, then the data's, then the everyday ones of the trainer."""

from __future__ import annotations

from argparse import SUPPRESS
from typing import Literal

from medzoo.core.cli.parser import Parser
from medzoo.core.cli.request import Request
from medzoo.core.cli.streams import show
from medzoo.core.cli.usage import GENERAL
from medzoo.core.recipes import packaged_recipe, recipe_names
from medzoo.core.registry import load
from medzoo.core.seams import options_of
from medzoo.core.values import Recipe

TRAINER = {
    "max_epochs": "epochs to train (default: what the model asks for)",
    "max_steps": "steps to train (default: what the model asks for)",
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


def print_help(request: Request, model_class: type) -> None:
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
    name = request.base[1] if request.base else "default"
    recipe = packaged_recipe(request.model, name)
    parser.set_defaults(_settings(recipe, "model"))
    if request.data is not None and recipe.get("data", {}).get("class_path") == request.data.class_path:
        parser.set_defaults(_settings(recipe, "data"))
    show(parser.format_help())
    show(f"\nThe values in brackets are those of the recipe {request.model.name}/{name}, which these options change.")
    if others := [f"--config {request.model.name}/{other}" for other in recipe_names(request.model) if other != name]:
        show(f"Other recipes: {', '.join(others)}")
    width = max(map(len, TRAINER)) + len("--trainer.") + 2
    show("\ntrainer:")
    for option, text in TRAINER.items():
        value = recipe.get("trainer", {}).get(option)
        show(f"  {'--trainer.' + option:<{width}}{text if value is None else f'{text}; the recipe has {value}'}")
    show(GENERAL.format(model=request.model.name))


def _settings(recipe: Recipe, key: Literal["model", "data"]) -> dict[str, object]:
    return {f"{key}.{name}": value for name, value in recipe.get(key, {}).get("init_args", {}).items()}


def tidy(parser: Parser) -> None:
    """Drop the entries that take a whole group from a file: `--config` does that."""
    for action in options_of(parser):
        if action.dest in ("model", "data"):
            action.help = SUPPRESS
