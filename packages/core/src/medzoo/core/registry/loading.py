"""From the name of a plug-in to its class: the only place where a plug-in is imported."""

from __future__ import annotations

import importlib
import signal
import threading
from types import FrameType
from typing import Any

from medzoo.core.errors import PluginError, first_line
from medzoo.core.registry.kinds import kinds
from medzoo.core.registry.names import Spec


def load(spec: Spec) -> Any:
    """Import the class of a plug-in, or the function where its kind is of functions.

    Raises:
        PluginError: The import failed for whatever reason, or what it names is not a class of the right kind.
    """
    owner = f"{spec.kind} {spec.name!r} from {spec.package} {spec.version}"
    if spec.missing:
        raise PluginError(f"{owner} {spec.missing}")
    base = _named(kinds()[spec.kind].base)  # first: a fault of Lightning's own is not the plug-in's
    try:
        loaded = _named(spec.target)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plug-in may raise anything at import, SystemExit too
        raise PluginError(f"{owner} failed to load: {type(error).__name__}: {first_line(error)}") from error
    if base is None and not callable(loaded):
        raise PluginError(f"{owner} is not a function: {spec.target}")
    if isinstance(base, type) and not (isinstance(loaded, type) and issubclass(loaded, base)):
        raise PluginError(f"{owner} is not a {base.__name__}: {spec.target}")
    return loaded


def _named(target: str) -> object:
    """Return what `module:attribute` names; None for an empty text."""
    module, _, attribute = target.partition(":")
    found: object = getattr(importlib.import_module(module), attribute) if target else None
    return found


def broken(spec: Spec, patience: float = 60.0) -> str | None:
    """Return why a plug-in fails to load, in one line, or `None` where it loads.

    Args:
        spec: The plug-in.
        patience: Seconds after which an import counts as never ending (in the main thread).
    """

    def give_up(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"not finished after {patience:g} s")

    timed = threading.current_thread() is threading.main_thread()
    if timed:
        before = signal.signal(signal.SIGALRM, give_up)
        signal.setitimer(signal.ITIMER_REAL, patience)
    try:
        load(spec)
    except PluginError as error:
        return str(error)
    finally:
        if timed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    return None
