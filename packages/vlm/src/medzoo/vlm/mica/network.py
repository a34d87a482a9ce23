"""MICA's attention of words to patches, its concept head, and the bottleneck."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

SHARPNESS = (4.0, 5.0, 10.0)
"""GLoRIA's temperatures: of the attention, of the words of a text, and of the losses."""


class Looks(NamedTuple):
    """What the words of texts see in images.

    Attributes:
        contexts: `(B, M, W, d)`, for each word the patches that it looks at, added up.
        attention: `(B, M, W, P)`, how much it looks at each; sums to 1 over the patches.
    """

    contexts: Tensor
    attention: Tensor


def look(patches: Tensor, words: Tensor, mask: Tensor) -> Looks:
    """Let the words of each text look at the patches of each image (GLoRIA's double attention; MICA, section 3.2).

    `a = softmax_p(4 · softmax_w(⟨w, p⟩))`: within each patch the words of a text compete, then patches for each word.

    Args:
        patches: `(B, P, d)`.
        words: `(M, W, d)`.
        mask: `(M, W)` bool, false where there is no word.
    """
    similar = torch.einsum("mwd,bpd->bmwp", words, patches)
    seen = mask[None, :, :, None]
    shares = similar.masked_fill(~seen, -torch.inf).softmax(2)
    attention = (SHARPNESS[0] * shares).softmax(3)
    return Looks(torch.einsum("bmwp,bpd->bmwd", attention, patches) * seen, attention)


def local_similarity(looks: Looks, words: Tensor, mask: Tensor) -> Tensor:
    """Return `log Σ_w exp(5 cos(context_w, w))` of all images and texts, `(B, M)`."""
    cosine = functional.cosine_similarity(looks.contexts, words[None], dim=-1)
    return (SHARPNESS[1] * cosine).masked_fill(~mask[None], -torch.inf).logsumexp(2)


def global_similarity(image: Tensor, text: Tensor) -> Tensor:
    """Return ten times the cosine of wholes, `(B, M)`."""
    return SHARPNESS[2] * functional.normalize(image, dim=-1) @ functional.normalize(text, dim=-1).T


class ConceptSpace(nn.Module):
    """Concepts as directions: the margin of what words saw in an image to the hyperplane of each concept.

    `h = tanh(W [contexts])`, `m_k = (⟨CAV_k, h⟩ + b_k) / ‖CAV_k‖` (MICA, section 3.2).

    Args:
        concepts: K.
        width: d, of the features and of h.
        words: W, the words of a text, whose contexts stand one behind another.
        learned: Whether the directions are trained; otherwise `fill` sets them once.
    """

    vectors: Tensor
    intercepts: Tensor

    def __init__(self, concepts: int, width: int, words: int, learned: bool) -> None:
        super().__init__()
        self.words = words
        self.hidden = nn.Linear(words * width, width)
        start = functional.normalize(torch.randn(concepts, width), dim=-1)
        if learned:
            self.vectors, self.intercepts = nn.Parameter(start), nn.Parameter(torch.zeros(concepts))
        else:
            self.register_buffer("vectors", start)
            self.register_buffer("intercepts", torch.zeros(concepts))

    def fill(self, vectors: Tensor, intercepts: Tensor) -> None:
        """Set the directions, `(K, d)`, and their intercepts, `(K,)`."""
        self.vectors.copy_(vectors)
        self.intercepts.copy_(intercepts)

    def forward(self, contexts: Tensor) -> Tensor:
        """Return the margins `(B, K)` of contexts `(B, W', d)`, W' ≤ W."""
        filled = functional.pad(contexts, (0, 0, 0, self.words - contexts.shape[1]))
        return margins(self.hidden(filled.flatten(1)).tanh(), self.vectors, self.intercepts)


def margins(hidden: Tensor, vectors: Tensor, intercepts: Tensor) -> Tensor:
    """Return the signed distances `(B, K)` of `(B, d)` to hyperplanes with normals `(K, d)`; 0 where these are 0."""
    found: Tensor = (hidden @ vectors.T + intercepts) / vectors.norm(dim=1).clamp_min(1e-12)
    return found


def ridge_directions(features: Tensor, labels: Tensor, strength: float = 1e-2) -> tuple[Tensor, Tensor]:
    """Return a linear classifier of each concept, `(K, d)` and `(K,)`: least squares on −1 and 1, 0 where all agree.

    MICA takes linear support vector machines; ridge regression needs no other library and has one answer.

    Args:
        features: `(n, d)`.
        labels: `(n, K)` of 0, 1 and NaN.
        strength: Of the penalty, as a share of the mean variance.
    """
    vectors, intercepts = [], []
    for target in labels.double().T:
        known = ~target.isnan()
        if len(target[known].unique()) < 2:
            vectors.append(features.new_zeros(features.shape[1], dtype=torch.float64))
            intercepts.append(features.new_zeros((), dtype=torch.float64))
            continue
        x, y = features[known].double(), 2 * target[known] - 1
        centre = x.mean(0)
        moved = x - centre
        square = moved.T @ moved
        penalty = strength * square.diagonal().mean().clamp_min(1e-12) * torch.eye(len(square), dtype=square.dtype)
        vector = torch.linalg.solve(square + penalty, moved.T @ (y - y.mean()))
        vectors.append(vector)
        intercepts.append(y.mean() - centre @ vector)
    return torch.stack(vectors).to(features.dtype), torch.stack(intercepts).to(features.dtype)


class Bottleneck(nn.Module):
    """From a feature to concepts, and from their probabilities alone to diagnoses (MICA, section 3.3).

    Args:
        width: Of the feature.
        concepts: K.
        diagnoses: D.
    """

    def __init__(self, width: int, concepts: int, diagnoses: int) -> None:
        super().__init__()
        self.concepts, self.diagnoses = nn.Linear(width, concepts), nn.Linear(concepts, diagnoses)

    def forward(self, feature: Tensor, truth: Tensor | None = None, corrected: float = 0.0) -> tuple[Tensor, Tensor]:
        """Return the logits of concepts `(B, K)` and of diagnoses `(B, D)`.

        Args:
            feature: `(B, d)`.
            truth: `(B, K)` of 0, 1 and NaN, in training.
            corrected: Part of the concepts that the diagnoses see as in `truth`. An expert's corrections are 0 and 1,
                which a head that has seen nothing but middling probabilities cannot read; concepts that are replaced
                at random in training (as in concept embedding models, arXiv 2209.09056) are the cure.
        """
        concepts = self.concepts(feature)
        shown = concepts.sigmoid()
        if truth is not None and corrected:
            shown = correct(shown, truth, torch.rand_like(shown) < corrected)
        return concepts, self.diagnose(shown)

    def diagnose(self, probabilities: Tensor) -> Tensor:
        """Return the logits `(B, D)` of diagnoses for probabilities `(B, K)` of the concepts."""
        found: Tensor = self.diagnoses(probabilities)
        return found


def intervene(probabilities: Tensor, truth: Tensor, count: int) -> Tensor:
    """Replace the most uncertain concepts of each image by the truth, as an expert would who is asked about them.

    Args:
        probabilities: `(B, K)`.
        truth: `(B, K)` of 0, 1 and NaN; what is not known is not replaced.
        count: Concepts that are asked for.
    """
    order = (probabilities - 0.5).abs().argsort(stable=True, dim=1)[:, :count]
    asked = torch.zeros_like(probabilities, dtype=torch.bool).scatter(1, order, True)
    return correct(probabilities, truth, asked)


def correct(probabilities: Tensor, truth: Tensor, asked: Tensor) -> Tensor:
    """Replace the concepts that are asked for by the truth.

    Args:
        probabilities: `(B, K)`.
        truth: `(B, K)` of 0, 1 and NaN; what is not known is not replaced.
        asked: `(B, K)` bool.
    """
    return torch.where(asked & ~truth.isnan(), truth.to(probabilities), probabilities)
