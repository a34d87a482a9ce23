"""Which settings of Sim2Real go together."""

from __future__ import annotations

from collections.abc import Sequence

from medzoo.core.errors import ConfigError


def check(
    window: Sequence[float] | None,
    volume_mm3: Sequence[float],
    contrast: Sequence[float],
    blend: Sequence[float],
    healthy: float,
    sure: float,
    threshold: float,
) -> None:
    """Check settings of `Sim2Real`, whose class describes them.

    Raises:
        ConfigError: One is impossible.
    """
    if window is not None and (len(window) != 2 or not window[0] < window[1]):
        raise ConfigError(f"--model.window: expected two numbers, the lower one first, got {list(window)}")
    for name, values in (("volume_mm3", volume_mm3), ("contrast", contrast), ("blend", blend)):
        if len(values) != 2 or not 0 < values[0] <= values[1]:
            raise ConfigError(f"--model.{name}: expected two numbers above 0, the lower one first, got {list(values)}")
    if blend[1] > 1:
        raise ConfigError(f"--model.blend: expected at most 1, got {blend[1]}")
    if not 0 <= healthy < 1:
        raise ConfigError(f"--model.healthy: expected at least 0 and less than 1, got {healthy}")
    if not 0.5 < sure < 1:
        raise ConfigError(f"--model.sure: expected between 0.5 and 1, got {sure}")
    if not 0 < threshold < 1:
        raise ConfigError(f"--model.threshold: expected between 0 and 1, got {threshold}")
