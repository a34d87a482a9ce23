"""What loader processes hand their batches over in: `/dev/shm`, of which a container has 64 MB.

Torch passes a batch that does not fit from a thread that only prints a traceback, and whoever waits for it waits for
good. So the number of processes follows the room there is, and a batch is put into shared memory where it is made,
where a failure is an error of that batch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache

from torch import Tensor
from torch.utils.data import get_worker_info

from medzoo.core.distributed import print_once
from medzoo.core.errors import ConfigError
from medzoo.core.sample import Batch, collate

PREFETCH = 2
"""Batches that torch keeps ahead for each loader process."""
_AMPLE = 2**34
"""From here on no sample is read to see how large it is."""
_ROOM = "/dev/shm"  # noqa: S108 - where the system keeps shared memory; nothing is opened here
_CURE = "start the container with more, such as docker run --shm-size 8g"


def free_shared_memory() -> int | None:
    """Return the bytes that are free in `/dev/shm`; None where the system has no such folder."""
    try:
        room = os.statvfs(_ROOM)
    except OSError:
        return None
    return room.f_bavail * room.f_frsize


def affordable_workers(asked: int, batch_bytes: int, free: int, processes: int = 1) -> int:
    """Return how many loader processes shared memory has room for, at most `asked`.

    Half of the room is for this loader: one for evaluation is at work while the one for training keeps its batches.
    Each process has `PREFETCH` batches under way, and one more is in use.

    Args:
        asked: Loader processes wanted.
        batch_bytes: Size of the largest batch in bytes.
        free: Bytes that are free.
        processes: Training processes that share the room.
    """
    batches = free // (2 * processes * max(1, batch_bytes))
    return max(0, min(asked, (batches - 1) // PREFETCH))


def workers_for(asked: int, largest_batch: int, first: Callable[[], Mapping[str, object]], processes: int = 1) -> int:
    """Return how many loader processes to use, and inform the user where that is fewer than asked.

    Args:
        asked: `--data.num_workers`.
        largest_batch: Samples in the largest batch.
        first: Reads one sample.
        processes: Training processes on this machine.
    """
    free = free_shared_memory() if asked > 0 and largest_batch > 0 else None
    if free is None or free >= _AMPLE:
        return asked
    size = largest_batch * sum(tensor.nbytes for tensor in _tensors(first()))
    workers = affordable_workers(asked, size, free, processes)
    if workers < asked:
        room = f"{_ROOM} has {free / 2**20:.0f} MB free and a batch takes {size / 2**20:.1f} MB"
        _print_once_each(f"--data.num_workers {asked}: {room}, so {workers} loader processes are used; {_CURE}")
    return workers


def collate_shared(samples: Sequence[Mapping[str, object]], kind: type | None = None) -> Batch:
    """Collate; in a loader process also put the batch into shared memory.

    Args:
        samples: See `medzoo.core.sample.collate`.
        kind: Their `TypedDict`.

    Raises:
        ConfigError: It does not fit.
    """
    batch = collate(samples, kind)
    if get_worker_info() is None:
        return batch
    try:
        for tensor in _tensors(batch):
            if tensor.numel():
                tensor.share_memory_()
    except RuntimeError as error:
        size = sum(tensor.nbytes for tensor in _tensors(batch)) / 2**20
        problem = f"a batch of {size:.1f} MB does not fit in {_ROOM}"
        raise ConfigError(f"--data.num_workers: {problem}; use --data.num_workers 0, or {_CURE}") from error
    return batch


@cache
def _print_once_each(text: str) -> None:
    """Print once what holds for the loaders of training, validation and test alike."""
    print_once(text)


def _tensors(values: Mapping[str, object]) -> Iterable[Tensor]:
    for value in values.values():
        yield from (item for item in (value if isinstance(value, list) else [value]) if isinstance(item, Tensor))
