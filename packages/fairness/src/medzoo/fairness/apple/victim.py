"""The trained segmentation network that APPLE leaves as it is."""

from __future__ import annotations

from medzoo.core.errors import ConfigError
from medzoo.core.segmenter.module import Segmenter
from medzoo.core.zoo import load_checkpoint


def trained_segmenter(path: str | None) -> Segmenter:
    """Return the plain segmenter of a checkpoint.

    Raises:
        ConfigError: None is given, or its model is no plain segmenter.
        CheckpointError: It cannot be used.
    """
    if path is None:
        raise ConfigError("--model.victim: the stage perturb needs a checkpoint of a segmenter; or --model.stage all")
    victim = load_checkpoint(path)
    if not isinstance(victim, Segmenter) or victim.network is None or getattr(victim, "perturbers", None):
        raise ConfigError(f"--model.victim {path}: expected a checkpoint of a segmenter")
    return victim


def copy_weights(source: Segmenter, target: Segmenter) -> None:
    """Give one network the weights of another of the same sizes; both are built."""
    assert source.network is not None
    assert target.network is not None
    target.network.load_state_dict(source.network.state_dict())
