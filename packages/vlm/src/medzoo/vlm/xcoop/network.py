"""XCoOp's soft prompts: texts of which some words are vectors that are learnt."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class SoftPrompts(nn.Module):
    """Prompts `[CLS] context name [SEP]` of K classes, N of each, whose contexts are learnt for each class.

    XCoOp (arXiv 2403.09410), section 2.1, after CoOp with contexts of each class. In the public code the N prompts of a
    class start alike and get the same gradients, so that they are one; `noise` makes them differ.

    Args:
        table: `(V, d)`, the embeddings of the pieces that the text encoder knows.
        ids: `(K, T)` int64, pieces of the prompts in words.
        words: `(K, T)` int64, number of each piece's word, −1 for padding.
        lengths: Pieces of each prompt's context, which begins behind `[CLS]`.
        count: N.
        noise: Standard deviation of what is added at the start, in those of the table.
    """

    ids: Tensor
    words: Tensor

    def __init__(
        self, table: Tensor, ids: Tensor, words: Tensor, lengths: Sequence[int], count: int, noise: float
    ) -> None:
        super().__init__()
        self.register_buffer("ids", ids, persistent=False)
        self.register_buffer("words", words, persistent=False)
        self.rows = [row for row, length in enumerate(lengths) for _ in range(length)]
        self.columns = [place for length in lengths for place in range(1, length + 1)]
        self.count = count
        start = table.detach()[ids[self.rows, self.columns]].expand(count, -1, -1)
        self.context = nn.Parameter(start + noise * table.detach().std() * torch.randn_like(start))

    def forward(self, table: Tensor) -> Tensor:
        """Return the vectors of all prompts' pieces, `(N, K, T, d)`."""
        vectors = table.detach()[self.ids].repeat(self.count, 1, 1, 1)
        vectors[:, self.rows, self.columns] = self.context
        return vectors

    def nearest(self, table: Tensor) -> tuple[Tensor, Tensor]:
        """Return the piece whose embedding is nearest to each context vector, and its cosine, each `(N, contexts)`."""
        cosine = functional.normalize(self.context, dim=-1) @ functional.normalize(table, dim=-1).T
        best = cosine.max(-1)
        return best.indices, best.values
