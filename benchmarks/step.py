"""Time training steps of a method, alone or in turns with the public implementation of the same method.

    python benchmarks/step.py uod --model stage=stage1 --data size=256
    python benchmarks/step.py gu2net --public CLONE --steps 10

`CLONE` is a folder with a clone of the repository that `benchmarks/step_public.py` names for the method: those
of uod, cc2d, igu-aug, gu2net and han. Both sides then have the paper's network, the same sizes and the same batches. A
step of the public code follows each of the method, so that load and clock changes hit both; the first of both is left
out. Both are in one process that keeps freed memory as the command line does; with `--apart` the public code is in a
process of its own, which does as its own command line would: it gives freed memory back to the system. Loading is on
neither side; drawing the patch, augmentation and targets are within the clock for medzoo alone. Prints seconds a step
and the ratio: median and quartiles of the ratios of neighbouring steps. Set OMP_NUM_THREADS to choose the threads of
both.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import statistics
import subprocess
import time
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import nn

from medzoo.core import create_datamodule, create_model
from medzoo.core.runs.allocator import keep_freed_memory
from step_public import PAIRS

WARM_UP = 1


Clock = tuple[float, float]
"""Seconds by the wall, and of processor time, which other load on the machine changes less."""


class Turns(Callback):
    """Clocks each step of the trainer and lets the other code take one after it."""

    def __init__(self, other: Callable[[dict[str, Any]], Clock] | None) -> None:
        self.other = other
        self.own: list[Clock] = []
        self.others: list[Clock] = []
        self._start = (0.0, 0.0)

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, index: int) -> None:
        """Start the clock with the batch at hand: loading is not part of a step."""
        self._start = _now()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, out: Any, batch: Any, index: int) -> None:
        """Stop it after the optimiser."""
        self.own.append(_since(self._start))
        if self.other is not None:
            self.others.append(self.other(batch))


class Here:
    """The public code's step in this process, clocked."""

    def __init__(self, name: str, root: Path) -> None:
        self.step, networks = PAIRS[name].make(root)
        self.parameters = _parameters(networks)

    def __call__(self, batch: dict[str, Any]) -> Clock:
        """Take a step with the batch and return how long it took."""
        start = _now()
        self.step(batch)
        return _since(start)


class Apart:
    """The same in a process of its own, which waits while medzoo takes its step."""

    def __init__(self, name: str, root: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, there = context.Pipe()
        context.Process(target=_answer, args=(there, name, root), daemon=True).start()
        self.parameters: str = self.pipe.recv()

    def __call__(self, batch: dict[str, Any]) -> Clock:
        """Hand the batch over and return how long the step took there."""
        self.pipe.send({key: value.cpu().numpy() for key, value in batch.items() if isinstance(value, torch.Tensor)})
        clock: Clock = self.pipe.recv()
        return clock


def _answer(pipe: Connection, name: str, root: Path) -> None:
    here = Here(name, root)
    pipe.send(here.parameters)
    while True:
        pipe.send(here({key: torch.from_numpy(value) for key, value in pipe.recv().items()}))


def _now() -> Clock:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def _since(start: Clock) -> Clock:
    wall, processor = _now()
    return wall - start[0], processor - start[1]


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


def _parameters(networks: Sequence[nn.Module]) -> str:
    return f"{sum(p.numel() for network in networks for p in network.parameters()) / 1e6:.2f} M parameters"


def main() -> None:
    """Print seconds a step, and the ratio to the public code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", metavar="METHOD", help="a name from medzoo list")
    parser.add_argument("--recipe", help="a recipe's name; the quick one, and the paper's beside a clone")
    parser.add_argument("--datamodule", default="landmark-phantoms", help="a name from medzoo list")
    parser.add_argument("--model", nargs="*", default=[], metavar="OPTION=VALUE")
    parser.add_argument("--data", nargs="*", default=[], metavar="OPTION=VALUE")
    parser.add_argument("--public", type=Path, metavar="CLONE", help="a clone of the public code, see above")
    parser.add_argument("--apart", action="store_true", help="the public code in a process of its own")
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    keep_freed_memory(large_blocks=True)
    model, data, turns = _settings(arguments.model), _settings(arguments.data), Turns(None)
    if arguments.public:
        pair = PAIRS[arguments.name]
        head = ["git", "-C", str(arguments.public), "rev-parse", "HEAD"]
        commit = subprocess.run(head, stdout=subprocess.PIPE, text=True)
        turns.other = other = (Apart if arguments.apart else Here)(arguments.name, arguments.public.resolve())
        model, data = pair.model | model, {"domains": list(pair.domains), "n_train": 8, "shots": "all"} | data
        print(f"public: {commit.stdout.strip() or 'no commit known'}, {other.parameters}")
    recipe = arguments.recipe or ("paper" if arguments.public else "default")
    module = create_model(arguments.name, recipe=recipe, **model)
    train(module, create_datamodule(arguments.datamodule, **data), turns, arguments.steps)
    print(f"medzoo: {_parameters([module])}; {torch.get_num_threads()} threads, torch {torch.__version__}")
    for index, clock in enumerate(("by the wall", "processor time")):
        own, others = ([step[index] for step in steps[WARM_UP:]] for steps in (turns.own, turns.others))
        _show(f"{arguments.name}, {clock}", own, " s")
        if others:
            _show(f"public, {clock}", others, " s")
            _show(f"times faster, {clock}", [theirs / ours for ours, theirs in zip(own, others, strict=True)])


if __name__ == "__main__":
    main()
