"""From texts to features of words and of the whole: a BERT, its tokenizer, and how pieces become words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor, nn

from medzoo.core.backbones.weights import load_weights, read_weights
from medzoo.core.errors import ConfigError, DataError
from medzoo.vlm.text.bert import Bert, BertSize
from medzoo.vlm.text.wordpiece import PROBE, UNKNOWN, Tokens, WordPiece, read_vocabulary

_FILES = "config.json, vocab.txt or tokenizer.json, and model.safetensors or pytorch_model.bin"
_KEYS = {
    "vocabulary": "vocab_size",
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "inner": "intermediate_size",
    "positions": "max_position_embeddings",
}


@dataclass(frozen=True)
class TextFeatures:
    """What texts are to an image.

    Attributes:
        globals: `(B, d)`, of each whole text.
        tokens: `(B, W, d)`, of its words.
        mask: `(B, W)` bool, false where there is no word.
    """

    globals: Tensor
    tokens: Tensor
    mask: Tensor


class TextEncoder(nn.Module):
    """A BERT whose last layers, summed, give the features of words.

    Word pieces of a word are added up; `[CLS]` and `[SEP]` are words of their own. The feature of a text is the mean
    over its words (CARZero, section 3.1 and its public code).

    Args:
        size: Sizes of the BERT.
        last: Number of last hidden states that are summed, at most the layers.
        slots: Words of a text. With `masked` an upper limit; otherwise each text has so many, of which those
            without a word are zeros that are averaged and attended to as words are, as in the published weights.
        masked: Whether slots without a word are left out.
    """

    def __init__(self, size: BertSize, last: int = 4, slots: int = 97, masked: bool = True) -> None:
        super().__init__()
        self.size, self.slots, self.masked = size, slots, masked
        self.last = min(last, size.layers)
        self.bert = Bert(size)

    @property
    def limit(self) -> int:
        """Largest number of pieces of a text."""
        return min(self.slots, self.size.positions)

    def forward(self, ids: Tensor, words: Tensor) -> TextFeatures:
        """Return the features of texts.

        Args:
            ids: `(B, T)` int64, as `medzoo.vlm.text.wordpiece.Tokens` has them.
            words: `(B, T)` int64, number of each piece's word, −1 for padding.
        """
        return self._summed(self.bert(ids, words >= 0), words)

    def of_vectors(self, vectors: Tensor, words: Tensor) -> TextFeatures:
        """Return the features of texts whose pieces are given as vectors, `(B, T, width of the BERT)`."""
        return self._summed(self.bert.of_vectors(vectors, words >= 0), words)

    def _summed(self, states: list[Tensor], words: Tensor) -> TextFeatures:
        """Add up the last layers, and the pieces of each word."""
        pieces = torch.stack(states[-self.last :]).sum(0)
        slots = int(words.max()) + 1 if self.masked else self.slots
        sums = pieces.new_zeros(len(words), slots + 1, pieces.shape[2])  # the last slot takes the padding
        place = torch.where(words >= 0, words, slots)
        tokens = sums.scatter_add(1, place[:, :, None].expand_as(pieces), pieces)[:, :slots]
        count = words.amax(1) + 1
        mask = torch.arange(slots, device=words.device) < count[:, None]
        if not self.masked:
            return TextFeatures(tokens.mean(1), tokens, torch.ones_like(mask))
        return TextFeatures(tokens.sum(1) / count[:, None], tokens, mask)


@dataclass(frozen=True)
class TextSettings:
    """A BERT and its tokenizer in plain values, which a checkpoint keeps.

    Attributes:
        size: Sizes of the BERT.
        vocabulary: Pieces in the order of their numbers.
        lower: Whether texts are lower-cased.
    """

    size: dict[str, float]
    vocabulary: list[str]
    lower: bool = True

    def bert(self) -> BertSize:
        """Return the sizes as the network takes them."""
        rate = self.size["dropout"]
        return BertSize(
            **{f.name: int(self.size[f.name]) for f in fields(BertSize) if f.name != "dropout"}, dropout=rate
        )

    def tokenizer(self) -> WordPiece:
        """Return the tokenizer."""
        return WordPiece(self.vocabulary, self.lower)


def read_folder(folder: Path) -> TextSettings:
    """Read sizes and vocabulary of a BERT in a local Hugging Face folder; its weights are not read.

    Args:
        folder: With `config.json`, the tokenizer's files and the weights.

    Raises:
        DataError: The folder or a file is missing or of another model, or the vocabulary has not the size of the
            model's or knows no piece of «pleural effusion».
    """
    if not folder.is_dir():
        raise DataError(folder, "is not a folder", f"give a local folder with {_FILES}; nothing is downloaded")
    path = folder / "config.json"
    if not path.is_file():
        raise DataError(folder, "has no config.json", f"give a folder with {_FILES}")
    try:
        content = json.loads(path.read_text(encoding="utf8"))
        size = {own: float(int(content[key])) for own, key in _KEYS.items()}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(path, "has not the sizes of a BERT", "give the folder of a BertModel") from error
    if content.get("hidden_act", "gelu") != "gelu" or content.get("position_embedding_type", "absolute") != "absolute":
        raise DataError(path, "is of another network than BERT", "give a BERT with gelu and absolute positions")
    weight_file(folder)
    vocabulary, lower = read_vocabulary(folder)
    if len(vocabulary) != size["vocabulary"]:
        problem = f"has {len(vocabulary)} pieces in its vocabulary, but the model {size['vocabulary']:.0f}"
        raise DataError(folder, problem, "put the tokenizer of this model beside it")
    settings = TextSettings({**size, "dropout": float(content.get("hidden_dropout_prob", 0.1))}, vocabulary, lower)
    try:
        tokenizer = settings.tokenizer()
    except ValueError as error:
        raise DataError(folder, str(error), "give the tokenizer of a BERT") from error
    if all(piece == UNKNOWN for word in tokenizer.words(PROBE) for piece in tokenizer.pieces(word)):
        raise DataError(folder, f"knows no piece of {PROBE!r}", "give the tokenizer of this model, in its language")
    return settings


def weight_file(folder: Path) -> Path:
    """Return the file of the weights in a Hugging Face folder.

    Raises:
        DataError: There is none.
    """
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
    raise DataError(folder, "has no model.safetensors or pytorch_model.bin", f"give a folder with {_FILES}")


def load_bert(bert: Bert, folder: Path) -> str:
    """Put the weights of a local Hugging Face folder into a BERT and return a line on what matched.

    Raises:
        CheckpointError: Fewer than 90 % of its tensors are in the file.
    """
    path = weight_file(folder)
    weights = {name.removeprefix("bert."): value for name, value in read_weights(path).items()}
    renamed = {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): value
        for name, value in weights.items()
        if name != "embeddings.position_ids"  # numbers that older versions stored
    }
    return str(load_weights(bert, renamed, path))


def check_texts(texts: Sequence[str], tokens: Tokens, what: str) -> None:
    """Refuse texts of which a network would see nothing, or not all.

    Raises:
        ConfigError: A text is empty, has no known piece, or is longer than the limit.
    """
    for text, cut, unknown in zip(texts, tokens.truncated, tokens.unknown, strict=True):
        if unknown:
            raise ConfigError(
                f"{what}: the model knows no word of {text[:80]!r}; use words of the reports it learnt from"
            )
        if cut:
            raise ConfigError(f"{what}: {text[:40]!r}… is longer than {tokens.ids.shape[1]} pieces; shorten it")
