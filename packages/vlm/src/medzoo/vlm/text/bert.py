"""BERT in plain torch, with the names of Hugging Face's weights, so that local folders of it load without a library."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from medzoo.vlm.dropout import Dropout


@dataclass(frozen=True)
class BertSize:
    """Sizes of a BERT (Devlin et al., NAACL 2019); the defaults are BERT-base's.

    Attributes:
        vocabulary: Number of pieces.
        width: Size of the hidden states.
        layers: Number of layers.
        heads: Attention heads, which share the width.
        inner: Width within a feed-forward part.
        positions: Largest number of pieces of a text.
        dropout: Part that is dropped in training.
    """

    vocabulary: int = 28_996
    width: int = 768
    layers: int = 12
    heads: int = 12
    inner: int = 3072
    positions: int = 512
    dropout: float = 0.1


class Bert(nn.Module):
    """The encoder; `state_dict` names are those of `transformers.BertModel` without its pooler.

    Args:
        size: Its sizes.

    Raises:
        ValueError: The width is no multiple of the heads.
    """

    def __init__(self, size: BertSize) -> None:
        super().__init__()
        if size.width % size.heads:
            raise ValueError(f"a width of {size.width} cannot be shared by {size.heads} heads")
        self.embeddings = _Embeddings(size)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(_Layer(size) for _ in range(size.layers))
        self.apply(partial(_start, 0.02 * (768 / size.width) ** 0.5))

    def forward(self, ids: Tensor, mask: Tensor) -> list[Tensor]:
        """Return the hidden states `(B, T, width)` after the embeddings and after each layer.

        Args:
            ids: `(B, T)` int64.
            mask: `(B, T)` bool, false for padding.
        """
        return self.of_vectors(self.embeddings.word_embeddings(ids), mask)

    def of_vectors(self, vectors: Tensor, mask: Tensor) -> list[Tensor]:
        """Return the same for vectors in the place of the pieces' embeddings, such as learned ones.

        Args:
            vectors: `(B, T, width)`.
            mask: `(B, T)` bool, false for padding.
        """
        states = [self.embeddings(vectors)]
        for layer in cast(nn.ModuleList, self.encoder.layer):
            states.append(layer(states[-1], mask[:, None, None, :]))
        return states


class _Embeddings(nn.Module):
    def __init__(self, size: BertSize) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(size.vocabulary, size.width)
        self.position_embeddings = nn.Embedding(size.positions, size.width)
        self.token_type_embeddings = nn.Embedding(2, size.width)
        self.LayerNorm = nn.LayerNorm(size.width, eps=1e-12)
        self.dropout = Dropout(size.dropout)

    def forward(self, vectors: Tensor) -> Tensor:
        places = torch.arange(vectors.shape[1], device=vectors.device)
        kind = self.token_type_embeddings.weight[0]
        found: Tensor = self.dropout(self.LayerNorm(vectors + self.position_embeddings(places) + kind))
        return found


class _Layer(nn.Module):
    def __init__(self, size: BertSize) -> None:
        super().__init__()
        self.heads, self.rate = size.heads, size.dropout
        self.attention = nn.ModuleDict(
            {
                "self": nn.ModuleDict({name: nn.Linear(size.width, size.width) for name in ("query", "key", "value")}),
                "output": _output(size.width, size.width),
            }
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(size.width, size.inner)})
        self.output = _output(size.inner, size.width)
        self.dropout = Dropout(size.dropout)

    def forward(self, state: Tensor, mask: Tensor) -> Tensor:
        parts = cast(nn.ModuleDict, self.attention["self"])
        query, key, value = (_split(parts[name](state), self.heads) for name in ("query", "key", "value"))
        rate = self.rate if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate)
        state = self._added(cast(nn.ModuleDict, self.attention["output"]), mixed.transpose(1, 2).flatten(2), state)
        return self._added(self.output, functional.gelu(self.intermediate["dense"](state)), state)

    def _added(self, part: nn.ModuleDict, new: Tensor, state: Tensor) -> Tensor:
        found: Tensor = part["LayerNorm"](state + self.dropout(part["dense"](new)))
        return found


def _output(inner: int, width: int) -> nn.ModuleDict:
    return nn.ModuleDict({"dense": nn.Linear(inner, width), "LayerNorm": nn.LayerNorm(width, eps=1e-12)})


def _split(state: Tensor, heads: int) -> Tensor:
    parts: Tensor = state.unflatten(2, (heads, -1))
    return parts.transpose(1, 2)


def _start(spread: float, module: nn.Module) -> None:
    """Draw weights from a normal distribution, as BERT does at its width."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=spread)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
