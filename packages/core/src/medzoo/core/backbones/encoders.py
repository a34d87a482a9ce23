"""Encoders of timm that give maps at several strides, for any number of channels."""

from __future__ import annotations

import re
from collections.abc import Mapping

import timm
from torch import Tensor, nn


def timm_encoder(name: str, in_channels: int) -> nn.Module:
    """Make the feature extractor of a timm model with random weights; raises `ValueError` where there is none."""
    if not timm.is_model(name):
        close = timm.list_models(f"*{name.partition('_')[0]}*")[:3]
        raise ValueError(f"timm has no model {name!r}" + (f"; known are {', '.join(close)}" if close else ""))
    try:
        model: nn.Module = timm.create_model(name, pretrained=False, features_only=True, in_chans=in_channels)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise ValueError(f"{name} of timm gives no features: {error}") from error
    return model


def copy_weights(encoder: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy the weights of a timm classifier into its encoder, for each domain and for grey images.

    Args:
        encoder: As `timm_encoder` makes it; its normalisations may have been made per domain (`.each.N`).
        weights: By name, as timm's own files have them.

    Raises:
        ValueError: A weight is missing or has another shape.
    """
    # timm joins the names of the feature extractor's first levels with underscores.
    given = {name.replace(".", "_"): value for name, value in weights.items()}
    own = encoder.state_dict()
    chosen: dict[str, Tensor] = {}
    for name, value in own.items():
        source = given.get(re.sub(r"\.each\.\d+", "", name).replace(".", "_"))
        if source is not None and source.ndim == 4 and source.shape != value.shape:
            source = grey_weights(source, value.shape[1])
        if source is None or source.shape != value.shape:
            raise ValueError(f"{name} is missing or of another shape; give the weights of the same timm model")
        chosen[name] = source
    encoder.load_state_dict(chosen)


def grey_weights(weight: Tensor, channels: int) -> Tensor:
    """Weights `(out, in, …)` of a first layer for grey images: the sum over colours sees what three equal ones did."""
    return weight.sum(dim=1, keepdim=True) if channels == 1 and weight.shape[1] == 3 else weight
