"""Loaders whose order depends on (seed, epoch) alone, that resume between any two batches and never pad an evaluation.

A data set for training is indexed with `(index, epoch)`, so that it can seed the augmentation of each sample;
one for evaluation with `index`.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from functools import partial
from typing import cast

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from medzoo.core.distributed import rank_and_world
from medzoo.core.errors import ConfigError
from medzoo.core.sample import Batch
from medzoo.core.seeding import derive_seed
from medzoo.core.shared_memory import collate_shared, workers_for


def shuffled_batches(groups: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Draw the batches of one epoch: every batch holds one group, the order of batches mixes the groups.

    The last, smaller batch of a group is kept; one of a single sample is joined to its neighbour, because batch
    normalisation cannot train on it.

    Args:
        groups: `groups[i]` is the group (domain) of sample `i`.
        batch_size: Samples a batch.
        seed: Seed of the run.
        epoch: Epoch the order is drawn for.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, epoch))
    batches: list[list[int]] = []
    for group in sorted(set(groups)):
        members = torch.tensor([i for i, g in enumerate(groups) if g == group])
        order = members[torch.randperm(len(members), generator=generator)].tolist()
        chunks = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        if batch_size > 1 and len(chunks) > 1 and len(chunks[-1]) == 1:
            lone = chunks.pop()
            chunks[-1] += lone
        batches += chunks
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batch sampler that yields lists of `(index, epoch)` following `plan(epoch)`.

    Under several processes each takes every world-th batch, all the same number; what is left over is not trained on
    in that epoch.

    Args:
        plan: Batches of an epoch as lists of indices; their number must not depend on the epoch.
    """

    def __init__(self, plan: Callable[[int], list[list[int]]]) -> None:
        self.plan = plan
        self.epoch = 0
        self.start = 0
        self.sampler = self  # Lightning calls `loader.batch_sampler.sampler.set_epoch`

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration takes."""
        self.epoch = epoch

    def __len__(self) -> int:
        batches, world = len(self.plan(0)), rank_and_world()[1]
        if 0 < batches < world:
            raise ConfigError(
                f"{batches} training batches an epoch cannot be shared by {world} processes, each of which needs one; "
                "give a smaller --data.batch_size or fewer --trainer.devices"
            )
        return batches // world

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        rank, world = rank_and_world()
        batches = self.plan(self.epoch)
        mine = batches[: len(batches) // world * world][rank::world]
        start, self.start = self.start, 0
        for batch in mine[start:]:
            yield [(index, self.epoch) for index in batch]


def let_main_process_decide(worker: int) -> None:
    """Keep a loader process alive when a signal reaches the whole group, as Ctrl-C and batch systems send it.

    The main process still needs its batches to finish the step and save. SIGTERM counts only from that process, which
    so ends its loader processes; where it has died itself, torch ends them.
    """
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS; a handler does not learn the sender
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_told, args=(os.getppid(),), daemon=True).start()


@contextmanager
def unheard() -> Iterator[None]:
    """Hold signals back while loader processes are started: they inherit this, until each ignores them itself.

    Otherwise a signal to the whole group ends a process that has not yet come to `let_main_process_decide`, and the
    training with it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_when_told(main_process: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != main_process:
        pass
    os._exit(0)


class ResumableLoader(DataLoader[Mapping[str, object]]):
    """Training loader whose whole state is (epoch, batches done); Lightning saves it with the checkpoint.

    Args:
        dataset: Map-style data set indexed with `(index, epoch)`.
        batches: The order to follow.
        num_workers: Loader processes, fewer where shared memory has no room for their batches; results do not depend
            on their number.
        kind: `TypedDict` of the samples, see `medzoo.core.sample.collate`.
    """

    def __init__(
        self,
        dataset: Dataset[Mapping[str, object]],
        batches: EpochBatches,
        num_workers: int = 0,
        kind: type | None = None,
    ) -> None:
        if num_workers:
            plan = batches.plan(0)
            largest = max(map(len, plan), default=0)
            num_workers = workers_for(num_workers, largest, lambda: dataset[plan[0][0], 0], rank_and_world()[1])
        super().__init__(
            dataset,
            batch_sampler=batches,
            num_workers=num_workers,
            collate_fn=partial(collate_shared, kind=kind),
            pin_memory=torch.cuda.is_available(),
            persistent_workers=num_workers > 0,
            worker_init_fn=let_main_process_decide,
        )
        self.batches = batches
        self.done = 0

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        self.done = self.batches.start
        with unheard():
            batches = super().__iter__()
        for batch in batches:
            self.done += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and how many of its batches are done; a finished epoch counts as zero of the next."""
        return {"epoch": self.batches.epoch, "done": self.done % max(1, len(self))}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the batches that `state` counts."""
        self.batches.epoch, self.batches.start = state["epoch"], state["done"]


class EvaluationBatches(Sampler[list[int]]):
    """Batches in the order of the data set, each of one group; a process takes every world-th sample, none twice.

    Where there are fewer samples than processes, the last ones get none. The number of batches is not given then: to
    Lightning 0 means that there is nothing to evaluate, and such a process would never join the others in a metric.

    Args:
        groups: `groups[i]` is the group (domain) of sample `i`.
        batch_size: Samples a batch.
    """

    def __init__(self, groups: Sequence[int], batch_size: int) -> None:
        self.groups, self.batch_size = list(groups), batch_size

    @property
    def leaves_out(self) -> bool:
        """Whether some processes get no sample while others do; the same on all of them."""
        return 0 < len(self.groups) < rank_and_world()[1]

    def _batches(self) -> list[list[int]]:
        rank, world = rank_and_world()
        mine = range(rank, len(self.groups), world)
        batches: list[list[int]] = []
        for group in sorted(set(self.groups)):
            members = [i for i in mine if self.groups[i] == group]
            batches += [members[i : i + self.batch_size] for i in range(0, len(members), self.batch_size)]
        return batches

    def __len__(self) -> int:
        if self.leaves_out:
            raise TypeError("fewer samples than processes: the number of batches is unknown")
        return len(self._batches())

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches())


class EvaluationLoader(DataLoader[Mapping[str, object]]):
    """A loader whose processes are started as those of `ResumableLoader`."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        with unheard():
            return super().__iter__()


def evaluation_loader(
    dataset: Dataset[Mapping[str, object]],
    batch_size: int,
    groups: Sequence[int] | None = None,
    num_workers: int = 0,
    kind: type | None = None,
) -> DataLoader[Mapping[str, object]]:
    """Make a loader that visits every sample exactly once over all processes, without padding.

    Args:
        dataset: Map-style data set indexed with an integer.
        batch_size: Samples a batch.
        groups: Group (domain) of each sample; samples of different groups never share a batch. `None` is one group.
        num_workers: Loader processes, fewer where shared memory has no room for their batches.
        kind: `TypedDict` of the samples, see `medzoo.core.sample.collate`.
    """
    groups = [0] * len(cast(Sized, dataset)) if groups is None else groups
    largest = min(batch_size, len(groups))
    num_workers = workers_for(num_workers, largest, lambda: dataset[0], rank_and_world()[1])
    return EvaluationLoader(
        dataset,
        batch_sampler=EvaluationBatches(groups, batch_size),
        num_workers=num_workers,
        collate_fn=partial(collate_shared, kind=kind),
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=let_main_process_decide,
    )
