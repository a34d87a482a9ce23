"""Plug-ins by kind and name, from entry points; nothing is imported until it is asked for."""

from __future__ import annotations

from medzoo.core.registry.kinds import Kind, kinds
from medzoo.core.registry.loading import broken, load
from medzoo.core.registry.names import Spec, find, folder_of, names, registered, specs, unreadable

__all__ = ["Kind", "Spec", "broken", "find", "folder_of", "kinds", "load", "names", "registered", "specs", "unreadable"]
