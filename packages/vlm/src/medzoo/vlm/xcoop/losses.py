"""XCoOp's alignment of soft prompts with clinical ones, as wholes and piece by piece."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def prompt_alignment(soft: Tensor, clinical: Tensor, scale: float = 100.0) -> Tensor:
    """Return the cross-entropy of soft prompts that choose the clinical prompt of their class.

    `CE(s ⟨t_soft, t_clin⟩, k)` over K classes, both of length 1 (XCoOp, section 2.2).

    Args:
        soft: `(K, d)`, features of the soft prompts, the mean over those of a class.
        clinical: `(K, d)`, features of the clinical ones.
        scale: s, CLIP's.
    """
    cosine = functional.normalize(soft, dim=-1) @ functional.normalize(clinical, dim=-1).T
    return functional.cross_entropy(scale * cosine, torch.arange(len(soft), device=soft.device))


def token_alignment(soft: Tensor, clinical: Tensor, scale: float = 100.0) -> Tensor:
    """Return the same of the pieces' embeddings: the mean cosine of the pieces in the same places.

    The public code sums over all of CLIP's 77 places, padding among them; the mean keeps the scale of
    `prompt_alignment`, and zeros, for padding, agree with nothing.

    Args:
        soft: `(K, T, d)`, vectors of the soft prompts, the mean over those of a class.
        clinical: `(K, T', d)`, embeddings of the clinical ones.
        scale: s.
    """
    same, longest = min(soft.shape[1], clinical.shape[1]), max(soft.shape[1], clinical.shape[1])
    units = (functional.normalize(part[:, :same], dim=-1) for part in (soft, clinical))
    cosine = torch.einsum("ktd,ltd->kl", *units) / longest
    return functional.cross_entropy(scale * cosine, torch.arange(len(soft), device=soft.device))
