"""The options that data modules pass on are typed as their base classes have them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from inspect import Parameter, signature
from typing import get_type_hints

import pytest
from jsonargparse import ArgumentParser

from medzoo.core.data.module import MedzooDataModule
from medzoo.core.registry import Spec, load, specs


def passing_on() -> Iterator[tuple[type, str]]:
    """Yield the registered data modules and their bases that pass typed options on, with the name of the type."""
    seen = set()
    for spec in specs("datamodule"):
        for kind in load(spec).__mro__:
            if kind in seen or not issubclass(kind, MedzooDataModule) or "__init__" not in vars(kind):
                continue
            seen.add(kind)
            for parameter in signature(kind.__init__).parameters.values():
                if parameter.kind is Parameter.VAR_KEYWORD and str(parameter.annotation).startswith("Unpack["):
                    yield kind, str(parameter.annotation)[len("Unpack[") : -1]


def options_of(kind: type) -> dict[str, object]:
    """Return the options that the first `__init__` of a class's bases takes, with their types, its bases' included."""
    hints: dict[str, object] = {}
    for base in reversed(kind.__mro__[1:]):
        if issubclass(base, MedzooDataModule) and "__init__" in vars(base):
            own, types = signature(base.__init__).parameters, get_type_hints(base.__init__)
            named = [n for n, p in own.items() if n != "self" and p.kind is not Parameter.VAR_KEYWORD]
            passes = any(p.kind is Parameter.VAR_KEYWORD for p in own.values())
            hints = {**(hints if passes else {}), **{name: types[name] for name in named}}
    return hints


@pytest.mark.parametrize(("kind", "name"), [pytest.param(*case, id=case[0].__name__) for case in passing_on()])
def test_the_options_passed_on_are_those_of_the_base_class(kind: type, name: str) -> None:
    typed = get_type_hints(getattr(sys.modules[kind.__module__], name))
    taken = options_of(kind)
    own = {n for n, p in signature(kind.__init__).parameters.items() if p.kind is not Parameter.VAR_KEYWORD}
    assert {option: taken.get(option) for option in typed} == typed
    missing = set(taken) - set(typed) - own
    assert not missing - {"root", "intensity", "val"}, f"{name} lacks {missing}"


@pytest.mark.parametrize("spec", specs("datamodule"), ids=lambda spec: spec.name)
def test_the_command_line_takes_the_common_options_of_every_data_module(spec: Spec) -> None:
    """A base that changes what is passed on, as `**{"colour": True, **common}`, hides all of them from the parser."""
    kind = load(spec)
    if not issubclass(kind, MedzooDataModule):
        pytest.skip("is of another package's own base")
    taken = ArgumentParser(exit_on_error=False).add_class_arguments(kind, "data", fail_untyped=False)
    assert {f"data.{name}" for name in ("batch_size", "num_workers", "seed")} <= set(taken)
