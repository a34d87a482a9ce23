"""A /dev/shm as small as a container's: fewer loader processes, or one line, where torch waits for good."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from medzoo.core import shared_memory
from medzoo.core.data.loaders import EpochBatches, ResumableLoader, evaluation_loader
from medzoo.core.shared_memory import affordable_workers

MB = 2**20


@pytest.mark.parametrize(
    ("asked", "batch", "free", "processes", "expected"),
    [
        (4, 1 * MB, 64 * MB, 1, 4),
        (32, 1 * MB, 64 * MB, 1, 15),  # 15 · 2 ahead + 1 in use = 31 of the 32 MB that are this loader's
        (4, 6 * MB, 64 * MB, 1, 2),
        (4, 6 * MB, 64 * MB, 2, 0),
        (4, 11 * MB, 64 * MB, 1, 0),
        (4, 100 * MB, 64 * MB, 1, 0),
        (4, 1 * MB, 0, 1, 0),
        (0, 1 * MB, 64 * MB, 1, 0),
    ],
)
def test_workers_follow_the_room(asked: int, batch: int, free: int, processes: int, expected: int) -> None:
    assert affordable_workers(asked, batch, free, processes) == expected


class Images(Dataset[dict[str, Any]]):
    """Four images of 1 MB; those for training are asked for with an epoch."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        index = key if isinstance(key, int) else key[0]
        return {"image": torch.full((1, 512, 512), float(index)), "id": str(index), "empty": torch.zeros(0)}


def training(workers: int) -> ResumableLoader:
    return ResumableLoader(Images(), EpochBatches(lambda epoch: [[0, 1], [2, 3]]), workers)


@pytest.mark.parametrize(("free", "expected"), [(64 * MB, 2), (13 * MB, 1), (8 * MB, 0), (None, 2)])
def test_loaders_use_the_workers_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], free: int | None, expected: int
) -> None:
    monkeypatch.setattr(shared_memory, "free_shared_memory", lambda: free)
    loaders = training(2), evaluation_loader(Images(), 2, num_workers=2)
    out = capsys.readouterr().out
    assert out.count("\n") == (expected < 2), out
    assert expected == 2 or f"so {expected} loader processes are used" in out
    for loader in loaders:
        assert loader.num_workers == expected
        assert [batch["image"].amax(dim=(1, 2, 3)).tolist() for batch in loader] == [[0, 1], [2, 3]]


_IN_A_SMALL_ROOM = f"""
import sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_shared_memory import Images, shared_memory, training
if sys.argv[1] == "unseen":
    shared_memory.free_shared_memory = lambda: None
print([batch["id"] for batch in training(1)])
"""


@pytest.mark.parametrize("room", ["seen", "unseen"])
def test_a_real_small_room_ends_in_batches_or_in_an_error(room: str) -> None:
    mount = "mount -t tmpfs -o size=1m tmpfs /dev/shm"
    if subprocess.run(["unshare", "-Urm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody mount a small /dev/shm")
    script = f'{mount} && exec "$0" -c "$1" {room}'
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script, sys.executable, _IN_A_SMALL_ROOM],
        capture_output=True,
        text=True,
        timeout=60,  # it was for good
        check=False,
    )
    if room == "seen":
        assert done.returncode == 0, done.stderr
        assert "so 0 loader processes are used" in done.stdout
        assert done.stdout.endswith("[['0', '1'], ['2', '3']]\n")
    else:
        assert done.returncode == 1
        assert "ConfigError: --data.num_workers: a batch of 2.0 MB does not fit in /dev/shm" in done.stderr
