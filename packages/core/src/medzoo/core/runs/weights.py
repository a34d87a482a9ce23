"""Where weights are: a path, a name that an installed package brings, or `hf://org/name` on the Hugging Face hub."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import ClassVar

from medzoo.core.errors import CheckpointError, first_line
from medzoo.core.registry import find, load, names

HUB = "hf://"
OFFLINE = "HF_HUB_OFFLINE"
"""Variable of the environment that `--offline` sets: nothing is fetched then."""
FILES = ("README.md", "model.json", "model.safetensors", "SHA256SUMS")


class Weights:
    """Packed weights that come with a package, under the name of an entry point of `medzoo.weights`.

    A subclass lies in the module beside their folder, and says in its docstring what they are.
    """

    folder: ClassVar[str]
    """Name of the folder of `medzoo pack`, beside the module."""

    @classmethod
    def path(cls) -> Path:
        """Return the folder."""
        return Path(str(sys.modules[cls.__module__].__file__)).parent / cls.folder


def located(weights: str | Path) -> str:
    """Return the path of weights: what exists as it is, else that of a name or of the hub.

    Args:
        weights: A checkpoint or a folder of `medzoo pack`, a name of `medzoo list`, or `hf://org/name`, with
            `@revision` if need be.

    Raises:
        CheckpointError: The hub does not give them.
        PluginError: Two packages claim the name.
    """
    text = os.fspath(weights)
    if text.startswith(HUB):
        return _fetched(text)
    if not os.path.lexists(text) and text.rpartition(":")[2] in names("weight"):
        kind: type[Weights] = load(find("weight", text))
        return str(kind.path())
    return text


def _fetched(address: str) -> str:
    """Return the folder of the hub's cache with the four files of packed weights; no other file is fetched."""
    match = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", address)
    if match is None:
        raise CheckpointError(f"{address}: expected hf://ORGANISATION/NAME or hf://ORGANISATION/NAME@REVISION")
    from huggingface_hub import snapshot_download

    offline = os.environ.get(OFFLINE, "").upper() in ("1", "ON", "YES", "TRUE")
    try:
        return snapshot_download(match[1], revision=match[2], allow_patterns=list(FILES), local_files_only=offline)
    except Exception as error:  # the hub's client raises whatever the network does
        why = "is not in the cache, and --offline fetches nothing" if offline else f"cannot be fetched ({_why(error)})"
        raise CheckpointError(f"{address}: {why}; check the name, or give a folder of medzoo pack") from error


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)[:120]}"
