"""ConceptCLIP's two losses: images with texts, and patches with concepts."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def image_text(logits: Tensor, right: Tensor) -> Tensor:
    """Return SigLIP's loss, `−(1/B) Σ_ij log σ(z_ij s_ij)` with z = 1 for pairs that belong together and −1 for others.

    IT-Align of ConceptCLIP, arXiv 2501.15579.

    Args:
        logits: `(B, B)`, scaled and with their bias.
        right: `(B, B)` bool.
    """
    return -functional.logsigmoid(torch.where(right, logits, -logits)).sum() / len(logits)


def region_concept(patches: Tensor, concepts: Tensor, scale: Tensor, bias: Tensor, right: Tensor) -> Tensor:
    """Return the loss of images that should have a patch like each concept of their caption, and like no other.

    `s_ic = max_p (t ⟨v_ip, u_c⟩ + b)`, `L = −Σ_ic log σ(z_ic s_ic) / n` over n concepts (RC-Align). Without a concept
    it is 0.

    Args:
        patches: `(B, P, d)`, unit vectors.
        concepts: `(n, d)`, unit vectors.
        scale: `()`, t.
        bias: `()`, b.
        right: `(B, n)` bool, which concepts each image's caption names.
    """
    if not len(concepts):
        return (patches.sum() + scale + bias) * 0
    similar = torch.einsum("bpd,nd->bnp", patches, concepts).amax(2)
    logits = scale * similar + bias
    return -functional.logsigmoid(torch.where(right, logits, -logits)).sum() / len(concepts)
