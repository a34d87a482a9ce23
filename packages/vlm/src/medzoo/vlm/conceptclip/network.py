"""ConceptCLIP's heads: unit features of wholes, patches and words, and scaled similarities."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from medzoo.vlm.images import ImageFeatures
from medzoo.vlm.text.encoder import TextFeatures


class Heads(nn.Module):
    """Two token networks and two pairs of scale and bias (ConceptCLIP's public code).

    Args:
        width: Size d of all features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patches, self.words = (
            nn.Sequential(nn.Linear(width, width, bias=False), nn.GELU(), nn.Linear(width, width, bias=False))
            for _ in range(2)
        )
        self.log_scale, self.bias = nn.Parameter(torch.tensor(math.log(10.0))), nn.Parameter(torch.tensor(-10.0))
        self.log_concept_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.concept_bias = nn.Parameter(torch.tensor(-10.0))

    def whole(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return the logits `(images, texts)` of whole images with whole texts."""
        cosine = functional.normalize(image.globals, dim=-1) @ functional.normalize(text.globals, dim=-1).T
        return self.log_scale.exp() * cosine + self.bias

    def patch_units(self, image: ImageFeatures) -> Tensor:
        """Return unit features of patches, `(B, P, d)`."""
        return functional.normalize(self.patches(image.tokens), dim=-1)

    def span_units(self, text: TextFeatures, rows: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
        """Return unit features of spans of words, `(n, d)`: the mean over the words of each.

        Args:
            text: Of the captions, whose first token is `[CLS]`.
            rows: `(n,)`, caption of each span.
            starts: `(n,)`, its first word, from 0.
            ends: `(n,)`, the word behind its last.
        """
        places = torch.arange(text.tokens.shape[1], device=rows.device) - 1
        inside = (places >= starts[:, None]) & (places < ends[:, None])
        words = self.words(text.tokens)[rows]
        means = (words * inside[:, :, None]).sum(1) / inside.sum(1, keepdim=True)
        return functional.normalize(means, dim=-1)

    def similar(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return the scaled similarity `(images, texts, patches)` of patches with the mean word of each text.

        `[CLS]` and `[SEP]` are no words.
        """
        count = text.mask.sum(1)
        rows = torch.arange(len(count), device=count.device)
        words = self.span_units(text, rows, torch.zeros_like(count), count - 2)
        cosine = torch.einsum("bpd,td->btp", self.patch_units(image), words)
        return self.log_concept_scale.exp() * cosine + self.concept_bias
