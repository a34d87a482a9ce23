"""Weights under the names of the public code: every tensor finds its place, and what does not is reported."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medzoo.core.errors import CheckpointError
from medzoo.vlm.carzero.module import CARZero
from medzoo.vlm.carzero.released import from_released, renamed
from medzoo.vlm.text.wordpiece import build_vocabulary
from medzoo.vlm.zero_shot.classifier import ZeroShotClassifier

SMALL: dict[str, Any] = {"backbone": "test_vit", "size": 32, "width": 64, "layers": 2, "inner": 32, "head": "mlp"}
SIZE = {
    "vocab_size": 0, "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 32,
    "max_position_embeddings": 97,
}  # fmt: skip


def public_names(model: CARZero) -> dict[str, Tensor]:
    """Return the weights of a model as the public code calls them, with its dead ones."""
    found: dict[str, Tensor] = {}
    own = model.state_dict()
    for name, value in own.items():
        name = name.replace("image.model.", "img_encoder.model.").replace("text.bert.", "text_encoder.model.")
        name = re.sub(r"^fusion\.layers", "fusion_module.decoder.layers", name)
        for ours, theirs in (("out", "multihead_attn.out_proj"), ("feed.0", "linear1"), ("feed.3", "linear2"),
                             ("norm_attention", "norm2"), ("norm_feed", "norm3")):  # fmt: skip
            name = re.sub(rf"(decoder\.layers\.\d+)\.{re.escape(ours)}\.", rf"\1.{theirs}.", name)
        name = name.replace("fusion.norm.", "fusion_module.decoder_norm.").replace(
            "fusion.head.", "fusion_module.mlp_head."
        )
        if not re.search(r"\.(query|key|value)\.(weight|bias)$", name) or "fusion" not in name:
            found[f"CARZero.{name}"] = value
    for layer in range(2):
        for kind in ("weight", "bias"):
            parts = [own[f"fusion.layers.{layer}.{part}.{kind}"] for part in ("query", "key", "value")]
            at = f"CARZero.fusion_module.decoder.layers.{layer}"
            found |= {f"{at}.multihead_attn.in_proj_{kind}": torch.cat(parts), f"{at}.norm1.{kind}": torch.ones(64)}
            found[f"{at}.self_attn.in_proj_{kind}"] = torch.ones(3)
            found[f"CARZero.fusion_module.decoder.norm.{kind}"] = own[f"fusion.norm.{kind}"]
    found["CARZero.fusion_module.logit_scale"] = torch.ones(())
    found["CARZero.text_encoder.model.embeddings.position_ids"] = torch.arange(97)[None]
    found.pop("CARZero.thresholds")
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    vocabulary = build_vocabulary(["There is no pleural effusion", "a mass"], 100)
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert/config.json").write_text(json.dumps({**SIZE, "vocab_size": len(vocabulary)}))
    (tmp_path / "bert/vocab.txt").write_text("\n".join(vocabulary))
    (tmp_path / "bert/pytorch_model.bin").touch()
    return tmp_path / "bert"


@pytest.fixture
def source(folder: Path) -> CARZero:
    from medzoo.vlm.text.encoder import read_folder

    torch.manual_seed(0)
    network = {"text": vars(read_folder(folder)), "classes": []}
    return CARZero(**SMALL, mask_padding=False, network=network).eval()


def test_every_tensor_finds_its_place_and_scores_are_the_same(source: CARZero, folder: Path, tmp_path: Path) -> None:
    public = public_names(source)
    assert renamed(public).keys() == {name for name in source.state_dict() if name != "thresholds"}
    torch.save({"state_dict": public}, tmp_path / "released.pt")
    model, matched = from_released(tmp_path / "released.pt", folder, **SMALL)
    assert matched.unexpected == ()
    assert set(matched.missing) <= {"thresholds"}
    image = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0)).numpy()[0]
    found, wanted = (ZeroShotClassifier(m, ["mass", "effusion"]).predict([image])[0].logits for m in (model, source))
    assert found == wanted


def test_what_is_missing_is_reported(source: CARZero, folder: Path, tmp_path: Path) -> None:
    public = public_names(source)
    torch.save({**public, "CARZero.other": torch.ones(2)}, tmp_path / "more.pt")
    _, matched = from_released(tmp_path / "more.pt", folder, **SMALL)
    assert matched.unexpected == ("other",)
    torch.save({n: v for n, v in public.items() if "mlp_head.9" not in n}, tmp_path / "headless.pt")
    with pytest.raises(CheckpointError, match=r"has not fusion\.head\.9\.weight, as 2 tensors of the fusion"):
        from_released(tmp_path / "headless.pt", folder, **SMALL)
    torch.save({"a": torch.ones(2)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"only 0 of \d+ tensors fit"):
        from_released(tmp_path / "other.pt", folder, **SMALL)
