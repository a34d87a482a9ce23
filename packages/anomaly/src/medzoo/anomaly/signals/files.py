"""Reading records: WFDB through the library of that name, comma-separated tables, NumPy archives."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from medzoo.core.errors import ConfigError


def wfdb() -> ModuleType:
    """Return the library wfdb, which is imported when it is first needed.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import_module("wfdb.processing")
        return import_module("wfdb")
    except ModuleNotFoundError as error:
        raise ConfigError(f"R peaks and WFDB files need {error.name}: pip install 'medzoo-anomaly[wfdb]'") from error
