"""The processes of a run: which one this is, what only the first may do, and lists gathered from all."""

from __future__ import annotations

import os
from typing import TypeVar

from medzoo.core.names import printable

T = TypeVar("T")


def is_first_process() -> bool:
    """Return whether this is the process that writes; true outside of distributed runs."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


def print_once(text: str) -> None:
    """Print a line that the user of a run should see, once whatever the number of processes."""
    if is_first_process():
        print(printable(text), flush=True)


def rank_and_world() -> tuple[int, int]:
    """Return this process's rank and the number of processes; `(0, 1)` outside of distributed runs."""
    import torch.distributed as dist

    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)


def from_all(value: T) -> list[T]:
    """Return what each process gives, in their order; every one must call it, with what can be sent."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    found = [value] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


def gather_all(items: list[T]) -> list[T]:
    """Return the items of all processes, in the order of a data set whose samples are dealt out in turn.

    Every process must call it. Items must be tensors on the CPU and what else can be sent.
    """
    parts = from_all(items)
    return [part[i] for i in range(max(map(len, parts))) for part in parts if i < len(part)]
