"""Time training steps of a method, alone or in turns with another implementation.

    python benchmarks/step.py uod --model stage=stage1 --data size=256
    python benchmarks/step.py gu2net --public other.py --steps 30

`other.py` is yours: a Python file with a function `make() -> step`, where each call of `step()` runs one training step
(forward, backward, optimiser) of the other code on a batch of the same size. It runs between the steps of the method,
so that load and clock changes hit both; the first steps of both are left out. Prints seconds a step and the ratio:
median and quartiles of the ratios of neighbouring steps. Set OMP_NUM_THREADS to choose the threads of both.
"""

from __future__ import annotations

import argparse
import logging
import runpy
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

from medzoo.core import create_datamodule, create_model

WARM_UP = 3


class Turns(Callback):
    """Clocks each step of the trainer and lets the other code take one after it."""

    def __init__(self, other: Callable[[], object] | None) -> None:
        self.other = other
        self.own: list[float] = []
        self.others: list[float] = []
        self._start = 0.0

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, index: int) -> None:
        """Start the clock with the batch at hand: loading is not part of a step."""
        _wait()
        self._start = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, out: Any, batch: Any, index: int) -> None:
        """Stop it after the optimiser."""
        _wait()
        self.own.append(time.perf_counter() - self._start)
        if self.other is not None:
            start = time.perf_counter()
            self.other()
            _wait()
            self.others.append(time.perf_counter() - start)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _settings(given: Sequence[str]) -> dict[str, Any]:
    """Return `name=value` texts as settings; values are read as YAML."""
    return {name: yaml.safe_load(value) for name, _, value in (text.partition("=") for text in given)}


def _show(name: str, values: Sequence[float], unit: str = "") -> None:
    low, middle, high = statistics.quantiles(values, n=4)
    print(f"{name}: {middle:.4g}{unit} ({low:.4g} to {high:.4g} between the quartiles, {len(values)} steps)")


def train(module: LightningModule, datamodule: LightningDataModule, turns: Turns, steps: int) -> None:
    """Train for `steps` steps after the first ones."""
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet |= {"enable_model_summary": False, "num_sanity_val_steps": 0, "limit_val_batches": 0}
    Trainer(max_steps=steps + WARM_UP, max_epochs=-1, callbacks=[turns], **quiet).fit(module, datamodule)


def main() -> None:
    """Print seconds a step, and the ratio to the other code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", metavar="METHOD", help="a name from medzoo list")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--datamodule", default="landmark-phantoms", help="a name from medzoo list")
    parser.add_argument("--model", nargs="*", default=[], metavar="OPTION=VALUE")
    parser.add_argument("--data", nargs="*", default=[], metavar="OPTION=VALUE")
    parser.add_argument("--public", metavar="FILE", help="a Python file of yours with make(), see above")
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    turns = Turns(runpy.run_path(arguments.public)["make"]() if arguments.public else None)
    module = create_model(arguments.name, recipe=arguments.recipe, **_settings(arguments.model))
    train(module, create_datamodule(arguments.datamodule, **_settings(arguments.data)), turns, arguments.steps)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    _show(arguments.name, turns.own[WARM_UP:], " s")
    if turns.others:
        _show("other", turns.others[WARM_UP:], " s")
        pairs = zip(turns.own[WARM_UP:], turns.others[WARM_UP:], strict=True)
        _show("times faster", [theirs / ours for ours, theirs in pairs])


if __name__ == "__main__":
    main()
