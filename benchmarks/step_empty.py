"""Import modules of a repository without installing what they name and the imported part does not use.

Such libraries, and the repository's own modules that want them, are replaced by empty names; `.cuda()` does nothing
where there is no GPU. For `benchmarks/step_public.py`.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torchvision


class Nothing:
    """Whatever is asked of it, it is itself; as a decorator it gives back what it is put on."""

    def __call__(self, *given: Any, **named: Any) -> Any:
        """Give back what it decorates, or itself."""
        return given[0] if len(given) == 1 and callable(given[0]) and not named else self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type, ...]:
        return ()


class Empty(ModuleType):
    """A module all names of which are there and do nothing, but for those it is given."""

    def __init__(self, name: str, names: dict[str, Any]) -> None:
        super().__init__(name)
        self.__path__: list[str] = []
        self.__dict__.update(names)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing()


class Emptied:
    """Finds these modules, and all below them, empty."""

    def __init__(self, modules: Sequence[str], names: dict[str, Any]) -> None:
        self.modules, self.names = modules, names

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return this as the loader of an emptied module."""
        empty = any(name == module or name.startswith(f"{module}.") for module in self.modules)
        return ModuleSpec(name, self, is_package=True) if empty else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Make the empty module."""
        return Empty(spec.name, self.names)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is run."""


def reach(root: Path, modules: Sequence[str], **names: Any) -> None:
    """Let `root` be imported from, with these modules empty but for `names`."""
    if not torch.cuda.is_available():
        setattr(torch.Tensor, "cuda", lambda tensor: tensor)  # noqa: B010
    torchvision.models.vgg.model_urls = {}  # a name that torchvision no longer has
    sys.meta_path.insert(0, Emptied(modules, names))  # type: ignore[arg-type]
    sys.path.append(str(root))


def script(path: Path) -> ModuleType:
    """Import a file that is in no package; its `if __name__ == "__main__"` does not run."""
    spec = importlib.util.spec_from_file_location(f"public_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
