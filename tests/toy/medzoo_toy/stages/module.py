"""A method in two stages, the second of which needs a file from the first."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from medzoo.core.method import Method
from medzoo.core.sample import Batch
from medzoo_toy.model import Toy
from medzoo_toy.task import SumEvaluation, SumOutputs


class ToyStages(Method):
    """Learns the sum in stage1 and the remaining error in stage2.

    Args:
        stage: `all`, `stage1` or `stage2`.
        offset_file: File of stage1 that stage2 reads.
        epochs: Epochs of each stage.
    """

    stages: ClassVar[tuple[str, ...]] = ("stage1", "stage2")

    def __init__(self, stage: str = "all", offset_file: str | None = None, epochs: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.epochs = epochs
        self.offset = float(Path(offset_file).read_text()) if offset_file else 0.0
        self.net: nn.Module = Toy()

    @property
    def max_epochs(self) -> int:
        return self.epochs

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) + self.offset

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = ((self(batch["x"]) - batch["y"]) ** 2).mean()
        self.log("train/loss", loss)
        return loss

    def outputs(self, batch: Batch) -> SumOutputs:
        return SumOutputs(self(batch["x"]))

    def new_evaluation(self, stage: Literal["validate", "test"]) -> SumEvaluation | None:
        return SumEvaluation(self.device) if stage == "test" else None

    def configure_optimizers(self) -> Any:
        return Toy.configure_optimizers(self.net)

    def hand_over(self, folder: Path) -> dict[str, Any]:
        bias = float(self.net.second.bias.detach()[0])
        (folder / "offset.txt").write_text(repr(bias))
        return {"offset_file": str(folder / "offset.txt")}
