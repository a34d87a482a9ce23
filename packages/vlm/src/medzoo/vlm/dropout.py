"""Dropout whose random numbers cost little on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_VALUES = 2**16


class Dropout(nn.Dropout):
    """As `torch.nn.Dropout`; on a CPU each element takes 16 random bits in the place of a draw of its own.

    There the part that is dropped is `p` rounded to a multiple of 2⁻¹⁶, and what is kept is scaled for that very part.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Return values of any shape, in training with a part of them 0 and the others scaled."""
        dropped = round(self.p * _VALUES)
        if not self.training or self.inplace or values.device.type != "cpu" or not 0 < dropped < _VALUES:
            return super().forward(values)
        # Four draws in one: the generator gives 64 bits at a time. The lowest int64 asks for all of them.
        words = torch.empty((values.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        draws = words.view(torch.int16)[: values.numel()].view(values.shape)
        kept = (draws >= dropped - _VALUES // 2).to(values.dtype)
        return values * kept.mul_(_VALUES / (_VALUES - dropped))
