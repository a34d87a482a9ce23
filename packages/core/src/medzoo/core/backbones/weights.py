"""Pretrained weights from local files: one way to read them, one to fill a network, never silently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from medzoo.core.errors import CheckpointError
from medzoo.core.torch_files import has_its_data, load_data

Weights = dict[str, Tensor]
_ENTRIES = ("state_dict", "model", "model_state_dict", "teacher", "student")
_PREFIXES = ("module.", "model.", "net.", "network.", "backbone.", "encoder.", "visual.")
_LEAST = 0.9


@dataclass(frozen=True)
class Matched:
    """What came of putting weights into a network; `str()` is one line to print."""

    source: str
    loaded: int
    """Tensors of the network that were filled."""
    missing: tuple[str, ...]
    """Tensors of the network that kept their values: the file has none of that name, or one of another shape."""
    unexpected: tuple[str, ...]
    """Tensors of the file that the network has no place for."""

    def __str__(self) -> str:
        kept = f", {len(self.missing)} not in the file ({_first(self.missing)})" if self.missing else ""
        left = f", {len(self.unexpected)} of the file not used" if self.unexpected else ""
        return f"{self.source}: {self.loaded} of {self.loaded + len(self.missing)} tensors loaded{kept}{left}"


def read_weights(path: str | Path) -> Weights:
    """Read a state dict from a local safetensors file or a torch file, as data only.

    Args:
        path: The file; a state dict in a checkpoint's `state_dict`, `model` or the like is found.

    Raises:
        CheckpointError: The file is missing, damaged or compressed, or holds something else or values not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file of weights; download it first and give its path")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: object = load_file(path)
        else:
            content = load_data(path)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file raises any of a dozen types
        raise CheckpointError(
            f"{path}: cannot be read as weights ({type(error).__name__}): it is damaged or holds more than tensors; "
            "get the file anew"
        ) from error
    if isinstance(content, dict):
        content = next((content[key] for key in _ENTRIES if isinstance(content.get(key), dict)), content)
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(f"{path}: holds no state dict; save `model.state_dict()`")
    claims = next((name for name, value in content.items() if not has_its_data(value)), None)
    if claims is not None:
        raise CheckpointError(f"{path}: the weights {claims!r} claim more values than the file has; get the file anew")
    bad = next((name for name, value in content.items() if not bool(torch.isfinite(value).all())), None)
    if bad is not None:
        raise CheckpointError(f"{path}: the weights {bad!r} have values that are not finite; get the file anew")
    return {str(name): value for name, value in content.items()}


def load_weights(
    module: nn.Module, weights: Mapping[str, Tensor], source: object, parts: Sequence[str] = ()
) -> Matched:
    """Put weights into a network.

    Prefixes that wrappers add (`module.`, `backbone.`, …) are taken off where more names fit without them.

    Args:
        module: The network to fill.
        weights: The state dict, as from `read_weights`.
        source: Where they come from, for the messages.
        parts: Children of the network that are needed, such as `layer1`; empty for all of it.

    Returns:
        What was loaded and what was not; show it to the user.

    Raises:
        CheckpointError: Fewer than 90 % of the tensors that are needed have one of their name and shape.
    """
    own = module.state_dict()
    wanted = {
        name: value
        for name, value in own.items()
        if not name.endswith("num_batches_tracked") and (not parts or name.partition(".")[0] in parts)
    }
    given = _without_prefix(weights, wanted)
    fitting = {name: value for name, value in given.items() if name in own and value.shape == own[name].shape}
    missing = tuple(name for name in wanted if name not in fitting)
    unexpected = tuple(name for name in given if name not in fitting)
    matched = Matched(str(source), len(wanted) - len(missing), missing, unexpected)
    if matched.loaded < _LEAST * len(wanted):
        shapes = [name for name in missing if name in given]
        other = f", of another shape {_first(shapes)}" if shapes else ""
        raise CheckpointError(
            f"{source}: only {matched.loaded} of {len(wanted)} tensors fit; missing {_first(missing)}{other}; the file "
            f"has {_first(tuple(weights))}; give the weights of the same network"
        )
    module.load_state_dict({**own, **fitting})
    return matched


def _without_prefix(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Weights:
    """Take off the prefixes after which most names are those of the network."""
    best, names = dict(weights), dict(weights)
    while True:
        prefix = next((p for p in _PREFIXES if any(name.startswith(p) for name in names)), None)
        if prefix is None:
            return best
        names = {name.removeprefix(prefix): value for name, value in names.items()}
        if len(wanted.keys() & names.keys()) > len(wanted.keys() & best.keys()):
            best = names


def _first(names: Sequence[str]) -> str:
    more = ", …" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"
