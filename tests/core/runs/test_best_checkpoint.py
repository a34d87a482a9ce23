"""Which epoch's weights are kept as the best."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from medzoo.core.runs.callbacks.checkpoints import RunCheckpoints
from medzoo.core.runs.callbacks.names import BEST


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ([0.5, 0.3, 0.4], 1),
        ([math.nan, 0.5, 0.7], 1),
        ([0.5, math.nan, 0.7], 0),
        ([math.nan, math.nan, math.nan], 2),
    ],
)
def test_an_epoch_without_a_figure_is_never_the_best_unless_none_has_one(
    values: list[float], kept: int, tmp_path: Path
) -> None:
    table: Any = SimpleNamespace(row={}, finish=lambda trainer: None)
    signals: Any = SimpleNamespace(stop_if_asked=lambda trainer: None)
    saved: dict[str, int] = {}
    keeper = RunCheckpoints(tmp_path, table, signals, "val/error", "min")
    for epoch, value in enumerate(values):
        trainer = SimpleNamespace(
            is_global_zero=False, save_checkpoint=lambda path, e=epoch: saved.update({path.name: e})
        )
        table.row = {"val/error": value}
        keeper.on_train_epoch_end(cast(Any, trainer), cast(Any, None))
    assert saved[Path(BEST).name] == kept
