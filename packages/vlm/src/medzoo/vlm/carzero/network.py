"""CARZero's fusion and its rivals: one logit for each pair of an image and a text."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from medzoo.vlm.dropout import Dropout
from medzoo.vlm.images import ImageFeatures
from medzoo.vlm.text.encoder import TextFeatures

HEADS = ("linear", "mlp")
FUSIONS = ("simr", "cabs", "cosine")


def start_spread(width: int) -> float:
    """Return the standard deviation of initial weights: 0.02 at the paper's width of 768, more in a narrower network.

    A sum over the inputs then keeps its size; with 0.02 at a width of 64 nothing is learnt for hundreds of steps.
    """
    return 0.02 * math.sqrt(768 / width)


class Logits(NamedTuple):
    """Of all pairs, from both directions.

    Attributes:
        text_queries_image: `(images, texts)`: the text asks, the image's patches answer.
        image_queries_text: `(texts, images)`: the image asks, the text's words answer; None where a fusion has one
            direction only.
    """

    text_queries_image: Tensor
    image_queries_text: Tensor | None

    @property
    def score(self) -> Tensor:
        """`(images, texts)`, the mean of both directions."""
        return torch.stack(self.sides()).mean(0)

    def sides(self) -> list[Tensor]:
        """Return the logits of each direction, `(images, texts)`."""
        first, second = self
        return [first] if second is None else [first, second.T]


class SimR(nn.Module):
    """Similarity by cross-attention (CARZero, section 3.2): queries go through layers that look into a memory.

    One norm is used for the memory, for the queries and at the end. There is no attention among queries and there are
    no positions, so that a logit depends on its pair alone. The public code trains with dead weights besides
    (self-attention and its norm), which are left out here.

    Args:
        width: Size d of all features.
        layers: Number of layers.
        heads: Attention heads.
        inner: Width of the feed-forward parts.
        head: `linear`, as in the paper, or `mlp`, as in its released configuration.
        dropout: Part that is dropped in training.
    """

    def __init__(
        self,
        width: int = 768,
        layers: int = 4,
        heads: int = 4,
        inner: int = 1024,
        head: str = "mlp",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(_Layer(width, heads, inner, dropout) for _ in range(layers))
        self.dropout = Dropout(dropout)
        widths = [width, 1024, 512, 256] if head == "mlp" else [width]
        hidden = [
            part for have, want in pairwise(widths) for part in (nn.Linear(have, want), nn.ReLU(), Dropout(dropout))
        ]
        self.head = nn.Sequential(*hidden, nn.Linear(widths[-1], 1))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=start_spread(width))

    def forward(self, memory: Tensor, query: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the logit `(B, n)` of each query with each memory.

        Args:
            memory: `(B, T, d)`.
            query: `(n, d)`.
            mask: `(B, T)` bool, false where the memory has nothing; None where all of it counts.
        """
        state, _ = self._through(memory, query, mask, False)
        logits: Tensor = self.head(self.dropout(self.norm(state))).squeeze(-1)
        return logits

    def attention(self, memory: Tensor, query: Tensor) -> Tensor:
        """Return how much each query looks at each part of each memory, `(B, n, T)`: mean over heads and layers."""
        _, weights = self._through(memory, query, None, True)
        return torch.stack(weights).mean(0)

    def _through(self, memory: Tensor, query: Tensor, mask: Tensor | None, look: bool) -> tuple[Tensor, list[Tensor]]:
        # Before the first layer a query is the same for all memories: one row, which the layer spreads.
        memory, state = self.norm(memory), self.norm(query)[None]
        weights = []
        for layer in self.layers:
            assert isinstance(layer, _Layer)
            if look:
                weights.append(layer.weights(state, memory))
            state = layer(state, memory, mask)
        return state, weights


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norm_attention, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feed = nn.Sequential(
            nn.Linear(width, inner), nn.ReLU(), Dropout(dropout), nn.Linear(inner, width), Dropout(dropout)
        )
        self.dropout = Dropout(dropout)

    def _split(self, state: Tensor) -> Tensor:
        parts: Tensor = state.unflatten(2, (self.heads, -1))
        return parts.transpose(1, 2)

    def forward(self, state: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = (
            self._split(part(of))
            for part, of in (
                (self.query, self.norm_attention(state)), (self.key, memory), (self.value, memory),
            )
        )  # fmt: skip
        query = query.expand(len(memory), -1, -1, -1)
        seen = None if mask is None else mask[:, None, None, :]
        rate = self.rate if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, dropout_p=rate)
        state = state + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        found: Tensor = state + self.feed(self.norm_feed(state))
        return found

    def weights(self, state: Tensor, memory: Tensor) -> Tensor:
        """Return the attention `(B, n, T)`, averaged over the heads."""
        query, key = self._split(self.query(self.norm_attention(state))), self._split(self.key(memory))
        scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
        mean: Tensor = scores.softmax(-1).mean(1)
        return mean


class Cabs(nn.Module):
    """Similarity of RadZero (VL-CABS, arXiv 2504.07416): a softmax over cosines gives the context that is compared.

    Logits are cosines divided by the learned temperature, from the text to the image only.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_temperature = nn.Parameter(torch.tensor(0.07).log())

    def forward(self, memory: Tensor, query: Tensor) -> Tensor:
        """Return the logit `(B, n)` of queries `(n, d)` with memories `(B, T, d)`."""
        temperature, unit = self.log_temperature.exp(), functional.normalize(query, dim=-1)
        looks = (self.similarity(memory, query) / temperature).softmax(-1)
        context = functional.normalize(looks @ functional.normalize(memory, dim=-1), dim=-1)
        logits: Tensor = (context * unit).sum(-1) / temperature
        return logits

    def similarity(self, memory: Tensor, query: Tensor) -> Tensor:
        """Return the cosine `(B, n, T)` of each query with each part of each memory."""
        return functional.normalize(query, dim=-1) @ functional.normalize(memory, dim=-1).transpose(1, 2)


class Cosine(nn.Module):
    """The usual comparison of two global features, with a learned temperature; what CARZero is measured against."""

    def __init__(self) -> None:
        super().__init__()
        self.log_temperature = nn.Parameter(torch.tensor(0.07).log())

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Return the logits `(images, texts)` of features `(·, d)`."""
        return functional.normalize(image, dim=-1) @ functional.normalize(text, dim=-1).T / self.log_temperature.exp()


def fuse(fusion: SimR | Cabs | Cosine, image: ImageFeatures, text: TextFeatures, chunk: int | None = None) -> Logits:
    """Return the logits of all pairs of images and texts.

    Args:
        fusion: How they are compared.
        image: Of the images.
        text: Of the texts.
        chunk: Most queries that are compared at a time, for little memory; the figures are the same.
    """
    if isinstance(fusion, Cosine):
        return Logits(fusion(image.globals, text.globals), None)
    patches = torch.cat([image.globals[:, None], image.tokens], 1)
    asked = text.globals.split(chunk or len(text.globals))
    first = torch.cat([fusion(patches, part) for part in asked], 1)
    if isinstance(fusion, Cabs):
        return Logits(first, None)
    words = torch.cat([text.globals[:, None], text.tokens], 1)
    mask = functional.pad(text.mask, (1, 0), value=True)
    seen = None if bool(mask.all()) else mask
    asked = image.globals.split(chunk or len(image.globals))
    return Logits(first, torch.cat([fusion(words, part, seen) for part in asked], 1))


def maps(fusion: SimR | Cabs | Cosine, image: ImageFeatures, text: TextFeatures) -> Tensor:
    """Return where in each image each text is seen, `(images, texts, rows, columns)`.

    SimR gives attention, which is positive and sums to less than 1 (the share of the global token is left out); the
    others give cosines, which stay low where a finding is absent.
    """
    if isinstance(fusion, SimR):
        memory = torch.cat([image.globals[:, None], image.tokens], 1)
        found = fusion.attention(memory, text.globals)[:, :, 1:]
    else:
        unit = functional.normalize(text.globals, dim=-1)
        found = unit @ functional.normalize(image.tokens, dim=-1).transpose(1, 2)
    grid: Tensor = found.unflatten(2, image.grid)
    return grid
