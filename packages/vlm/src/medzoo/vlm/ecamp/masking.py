"""Which words of a report are hidden, and how much each counts: entities most, phrases that say nothing least."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medzoo.vlm.text.wordpiece import END, PAD, START, WordPiece

ENTITIES = frozenset(
    (
        "abnormality", "abscess", "aerate", "aorta", "atelectasis", "bronchiectasis", "calcification",
        "cardiomediastinal", "cardiomegaly", "catheter", "chf", "collapse", "congestion", "consolidation", "contour",
        "copd", "deformity", "dilation", "distention", "edema", "effusion", "embolism", "emphysema", "engorgement",
        "fibrosis", "fracture", "granuloma", "hernia", "hilar", "hyperinflate", "hemidiaphragm", "infiltrate", "mass",
        "nodule", "obscure", "opacity", "perihilar", "pneumonia", "pneumothorax", "sarcoidosis", "silhouette",
        "thickening", "tuberculosis", "vasculature",
    )
)  # fmt: skip
"""The entities of ECAMP's public code, in lower case."""
TEMPLATES = (("there", "is", "no", "evidence", "of"), ("there", "is", "no"))
DESCRIPTORS = ("same", "always", "never")
_ENTITY, _OTHER, _WITHOUT, _TEMPLATE = 0.75, 0.70, 0.75, 0.05


class Marks(NamedTuple):
    """Kinds of the pieces of a text, each `(T,)` bool.

    Attributes:
        words: Neither padding nor the pieces that begin and end a text.
        entities: Those of an entity.
        descriptors: The two pieces before each entity, but no full stop.
        templates: Those of phrases that say nothing of an image, such as «there is no».
    """

    words: NDArray[np.bool_]
    entities: NDArray[np.bool_]
    descriptors: NDArray[np.bool_]
    templates: NDArray[np.bool_]


def marks(pieces: Sequence[str]) -> Marks:
    """Return the kinds of pieces (ECAMP, section 3.2 and its public code)."""
    words = np.array([piece not in (PAD, START, END) for piece in pieces])
    entities, descriptors, templates = (np.zeros(len(pieces), bool) for _ in range(3))
    for place, piece in enumerate(pieces):
        if piece in ENTITIES:
            entities[place] = True
            before = [p for p in (place - 1, place - 2) if p >= 0 and words[p] and pieces[p] != "."]
            descriptors[before] = True
        for template in TEMPLATES:
            if tuple(pieces[place : place + len(template)]) == template:
                templates[place : place + len(template)] = True
    return Marks(words, entities, descriptors & ~entities, templates)


def hidden(pieces: Sequence[str], rng: np.random.Generator, descriptor: str = "same") -> NDArray[np.bool_]:
    """Draw which pieces are hidden, `(T,)` bool: entities by 0.75, others by 0.70; without an entity all by 0.75.

    A piece that goes on within a word (`##`) shares the fate of the one before.

    Args:
        pieces: Of the text, with those that begin and end it and padding, which are never hidden.
        rng: Source of the draws.
        descriptor: What becomes of descriptors: `same` as others, as in the released code; `always` hidden, which its
            dead branch intends; or `never`.
    """
    kinds = marks(pieces)
    rates = np.where(kinds.entities, _ENTITY, _OTHER) if kinds.entities.any() else np.full(len(pieces), _WITHOUT)
    if descriptor != "same":
        rates = np.where(kinds.descriptors, float(descriptor == "always"), rates)
    found = (rng.random(len(pieces)) < rates) & kinds.words
    for place, piece in enumerate(pieces):
        if place and piece.startswith("##"):
            found[place] = found[place - 1]
    return found


def weights(pieces: Sequence[str]) -> NDArray[np.float64]:
    """Return how much each piece counts, `(T,)`; the sum is T.

    Pieces of templates get 0.05. What is taken from them goes to the descriptors, where there are some, else to all.
    """
    kinds, size = marks(pieces), len(pieces)
    found = np.where(kinds.templates, _TEMPLATE, 1.0)
    taken = size - found.sum()
    share = found[kinds.descriptors].sum()
    if kinds.descriptors.any():
        found[kinds.descriptors] *= (share + taken) / share
    else:
        found *= size / found.sum()
    return found


class Words(NamedTuple):
    """Texts of which pieces are hidden, each `(B, T)`.

    Attributes:
        ids: int64, the pieces before some are hidden.
        hidden: bool.
        entities: bool, pieces of an entity.
        weights: float32, how much each counts.
    """

    ids: Tensor
    hidden: Tensor
    entities: Tensor
    weights: Tensor


def hide_words(
    tokenizer: WordPiece, texts: Sequence[str], length: int, draws: Sequence[np.random.Generator], descriptor: str
) -> Words:
    """Cut texts into pieces, and hide some.

    Args:
        tokenizer: Cuts.
        texts: At least one.
        length: T, to which they are cut or filled up.
        draws: Source of the draws of each text.
        descriptor: See `hidden`.
    """
    ids = tokenizer(texts, length).ids
    ids = functional.pad(ids, (0, length - ids.shape[1]), value=tokenizer.places[PAD])
    pieces = [[tokenizer.vocabulary[place] for place in row] for row in ids.tolist()]
    masked = [hidden(row, rng, descriptor) for row, rng in zip(pieces, draws, strict=True)]
    entities, counts = np.stack([marks(row).entities for row in pieces]), np.stack([weights(row) for row in pieces])
    return Words(ids, *(torch.from_numpy(a) for a in (np.stack(masked), entities, counts.astype(np.float32))))
