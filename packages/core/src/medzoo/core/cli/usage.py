"""The help of `fit`, `validate`, `test` and `predict` while no model is chosen, which imports nothing heavy."""

from __future__ import annotations

from medzoo.core.cli.streams import show
from medzoo.core.registry import find

GENERAL = """
run:
  --config FILE|NAME    configuration file, or a packaged recipe such as {model}/paper; may be repeated
  --print_config        print the resulting configuration and stop
  --seed_everything N   seed of weights, order and augmentation (default: 0)
  --run_dir DIR         folder of the run (default: runs/{model}/DATA/N)
  --resume              continue the newest run, or that in --run_dir, to the very weights of an uninterrupted one
  --ckpt_path FILE      take model, data settings, weights and the place in the training from a checkpoint
  --init_from FILE      start a new training with weights and (but for --config NAME) model settings of a checkpoint
  --freeze PART         keep the weights of a part of the model, such as backbone; commas or repeats for more
  --test_set NAME=DIR   with test: also the images of another folder, figures as NAME/...; may be repeated
  --logger NAMES        log to csv (a row every few steps), tensorboard, wandb or mlflow too, into the run folder
  --quiet               no bars and no lines an epoch
  --debug               show where an error came from
"""
"""What a run takes beside the options of its model, its data and the trainer."""


def print_usage(verb: str) -> None:
    """Print how to use a verb."""
    chosen = "--model NAME" if verb == "fit" else "--ckpt_path FILE [--data NAME --data.root DIR]"
    show(f"usage: medzoo {verb} {chosen} [options]\n\n{find('verb', f'medzoo-core:{verb}').summary}")
    show(GENERAL.format(model="MODEL"))
    if verb == "predict":
        show("  medzoo predict CKPT PATH ... -o OUT   files or folders of images; medzoo predict CKPT --help")
    show(f"  medzoo {verb} --model NAME --help   the options of a model, its data and the trainer\n  medzoo list")
