"""The published weights of CARZero in our network: how their tensors are called there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from medzoo.core.backbones.weights import Matched, load_weights, read_weights
from medzoo.core.errors import CheckpointError
from medzoo.vlm.carzero.module import CARZero
from medzoo.vlm.text.encoder import read_folder

_DEAD = re.compile(
    r"fusion_module\.(decoder\.layers\.\d+\.(self_attn|norm1)\.|decoder\.norm\.|logit_scale)"
    r"|.*(embeddings\.position_ids|pooler\.dense\.(weight|bias))$"
)
"""What the public code trains or stores and never uses, and the second name of its one norm."""
_NAMES = (
    (r"img_encoder\.model\.(vision_encoder\.)?", "image.model."),
    (r"text_encoder\.model\.", "text.bert."),
    (r"fusion_module\.decoder\.layers\.(\d+)\.multihead_attn\.out_proj\.", r"fusion.layers.\1.out."),
    (r"fusion_module\.decoder\.layers\.(\d+)\.linear1\.", r"fusion.layers.\1.feed.0."),
    (r"fusion_module\.decoder\.layers\.(\d+)\.linear2\.", r"fusion.layers.\1.feed.3."),
    (r"fusion_module\.decoder\.layers\.(\d+)\.norm2\.", r"fusion.layers.\1.norm_attention."),
    (r"fusion_module\.decoder\.layers\.(\d+)\.norm3\.", r"fusion.layers.\1.norm_feed."),
    (r"fusion_module\.decoder_norm\.", "fusion.norm."),
    (r"fusion_module\.mlp_head\.(\d+)\.", r"fusion.head.\1."),
)


def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return published weights under the names of our network; dead ones are left out, unknown ones keep theirs.

    Args:
        weights: The state dict, with or without `CARZero.` before each name.
    """
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        name = name.removeprefix("CARZero.")
        packed = re.fullmatch(r"fusion_module\.decoder\.layers\.(\d+)\.multihead_attn\.in_proj_(weight|bias)", name)
        if packed is not None:
            for part, own in zip(("query", "key", "value"), value.chunk(3), strict=True):
                found[f"fusion.layers.{packed[1]}.{part}.{packed[2]}"] = own
        elif _DEAD.match(name) is None and not name.endswith(
            ("position_ids", "pooler.dense.weight", "pooler.dense.bias")
        ):
            for pattern, own_name in _NAMES:
                name = re.sub(f"^{pattern}", own_name, name)
            found[name] = value
    return found


def from_released(path: str | Path, text: str | Path, **settings: Any) -> tuple[CARZero, Matched]:
    """Build CARZero with published weights, ready to be asked.

    The published file holds settings as Python objects and is not read as it is: save its `state_dict` alone, once,
    where you trust it.

    Args:
        path: File with the state dict.
        text: Local Hugging Face folder of its text encoder, for sizes and vocabulary.
        settings: Settings that differ from the released ones, such as `head="linear"`.

    Returns:
        The model in evaluation mode, and what was matched and what not; show it to the user.

    Raises:
        CheckpointError: Fewer than 90 % of the tensors are in the file, or any of the fusion is missing.
        DataError: The folder lacks something.
    """
    read = read_folder(Path(text))
    network = {"text": vars(read), "classes": []}
    model = CARZero(**{"mask_padding": False, "words": 97, **settings, "network": network})
    matched = load_weights(model, renamed(read_weights(path)), path)
    absent = [name for name in matched.missing if name.startswith("fusion.")]
    if absent:
        raise CheckpointError(f"{path}: has not {absent[0]}, as {len(absent)} tensors of the fusion; see --model.head")
    return model.eval(), matched
