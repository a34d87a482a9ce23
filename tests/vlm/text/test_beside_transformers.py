"""Our tokenizer and BERT beside those of transformers, where it is installed: the same pieces, the same states."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from medzoo.vlm.text.bert import Bert
from medzoo.vlm.text.encoder import load_bert, read_folder
from medzoo.vlm.text.wordpiece import SPECIALS, WordPiece

transformers = pytest.importorskip("transformers")
TEXTS = [
    "There is a small left-sided pleural effusion (1.5 cm).", "No pneumothorax/consolidation; x-ray of 3/4.",
    "Ödem naïve café — 心影 enlarged\u200b heart\tno_change", "", "effusions" * 20,
]  # fmt: skip
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
PIECES = [
    *SPECIALS, *LETTERS, *"().,;/-_—", *(f"##{c}" for c in LETTERS),
    "there", "is", "pleural", "effusion", "##ions", "effus", "no", "left", "pneumo", "##thorax", "心", "heart",
]  # fmt: skip


def folder(path: Path, lower: bool) -> Path:
    path.mkdir()
    (path / "vocab.txt").write_text("\n".join(PIECES))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(PIECES), hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=256,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(path)
    settings = {"do_lower_case": lower, "tokenizer_class": "BertTokenizer"}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    return path


@pytest.mark.parametrize("lower", [True, False])
def test_pieces_are_the_same(tmp_path: Path, lower: bool) -> None:
    place = folder(tmp_path / "bert", lower)
    settings = read_folder(place)
    assert settings.lower is lower
    theirs = transformers.AutoTokenizer.from_pretrained(str(place))
    ours = WordPiece(settings.vocabulary, settings.lower)
    for text in TEXTS:
        wanted = theirs(text, truncation=True, max_length=50)["input_ids"]
        assert ours([text], 50).ids[0].tolist() == wanted, text


def test_states_of_all_layers_are_the_same(tmp_path: Path) -> None:
    place = folder(tmp_path / "bert", True)
    settings = read_folder(place)
    bert = Bert(settings.bert()).eval()
    load_bert(bert, place)
    theirs = transformers.BertModel.from_pretrained(str(place)).eval()
    tokens = settings.tokenizer()(TEXTS, 50)
    mask = tokens.words >= 0
    with torch.no_grad():
        found = bert(tokens.ids, mask)
        wanted = theirs(tokens.ids, attention_mask=mask.long(), output_hidden_states=True).hidden_states
    assert len(found) == len(wanted) == 4
    for own, other in zip(found, wanted, strict=True):
        assert torch.allclose(own[mask], other[mask], atol=1e-5)
