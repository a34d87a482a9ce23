"""Models, data modules and selectors by name, from entry points; nothing is imported until it is asked for."""

from __future__ import annotations

from medzoo.core.registry.loading import broken, load
from medzoo.core.registry.names import GROUPS, Spec, find, folder_of, names, registered, specs, unreadable

__all__ = ["GROUPS", "Spec", "broken", "find", "folder_of", "load", "names", "registered", "specs", "unreadable"]
