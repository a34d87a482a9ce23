"""Which settings of NormNet go together."""

from __future__ import annotations

from medzoo.anomaly.lesions import PRESETS
from medzoo.core.errors import ConfigError


def check(members: int, preset: str, preset_threshold: float | None, rim_mm: float) -> None:
    """Check settings of `NormNet`, whose class describes them.

    Raises:
        ConfigError: One is impossible.
    """
    if members < 1:
        raise ConfigError(f"--model.members: expected at least 1, got {members}")
    if preset not in PRESETS:
        raise ConfigError(f"--model.preset: expected one of {', '.join(PRESETS)}, got {preset}")
    if preset_threshold is not None and not 0 < preset_threshold <= 1:
        raise ConfigError(f"--model.preset_threshold: expected more than 0 and at most 1, got {preset_threshold}")
    if rim_mm < 0:
        raise ConfigError(f"--model.rim_mm: expected at least 0, got {rim_mm}")
