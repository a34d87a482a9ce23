"""The options that data modules pass on are typed as their base classes have them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from inspect import Parameter, signature
from typing import get_type_hints, is_typeddict

import pytest
from jsonargparse import ArgumentParser

from medzoo.core.data.module import MedzooDataModule
from medzoo.core.registry import Spec, load, specs


def passing_on() -> Iterator[tuple[type, str]]:
    """Yield the registered data modules and their bases that pass typed options on, with the name of the type."""
    seen = set()
    for spec in (spec for spec in specs("datamodule") if not spec.missing):
        for kind in load(spec).__mro__:
            if kind in seen or not issubclass(kind, MedzooDataModule) or "__init__" not in vars(kind):
                continue
            seen.add(kind)
            for parameter in signature(kind.__init__).parameters.values():
                if parameter.kind is Parameter.VAR_KEYWORD and str(parameter.annotation).startswith("Unpack["):
                    yield kind, str(parameter.annotation)[len("Unpack[") : -1]


def options_of(bases: tuple[type, ...]) -> dict[str, object]:
    """Return the options that the first `__init__` of some classes takes, with their types, its bases' included."""
    hints: dict[str, object] = {}
    for base in reversed(bases):
        if issubclass(base, MedzooDataModule) and "__init__" in vars(base):
            own, types = signature(base.__init__).parameters, get_type_hints(base.__init__)
            named = [n for n, p in own.items() if n != "self" and p.kind is not Parameter.VAR_KEYWORD]
            passes = any(p.kind is Parameter.VAR_KEYWORD for p in own.values())
            hints = {**(hints if passes else {}), **{name: types[name] for name in named}}
    return hints


@pytest.mark.parametrize(("kind", "name"), [pytest.param(*case, id=case[0].__name__) for case in passing_on()])
def test_the_options_passed_on_are_those_of_the_base_class(kind: type, name: str) -> None:
    typed = get_type_hints(getattr(sys.modules[kind.__module__], name))
    taken = options_of(kind.__mro__[1:])
    assert {option: taken.get(option) for option in typed} == typed


def titled() -> dict[type, type]:
    """Return the types of options that are called `Options of X`, by the class X of the same module."""
    bases = {base for kind, _ in passing_on() for base in kind.__mro__}
    titles = {(base.__module__, f"Options of `{base.__name__}`."): base for base in bases}
    found = {}
    for module in sorted({base.__module__ for base in bases}):  # in one order for all processes of a run
        for value in vars(sys.modules[module]).values():
            if is_typeddict(value) and (module, value.__doc__) in titles:
                found[titles[module, value.__doc__]] = value
    return found


@pytest.mark.parametrize(("base", "options"), titled().items(), ids=lambda kind: kind.__name__)
def test_a_type_that_is_called_the_options_of_a_class_has_all_of_them(base: type, options: type) -> None:
    assert set(get_type_hints(options)) == set(options_of(base.__mro__)) - {"root"}


@pytest.mark.parametrize("spec", [spec for spec in specs("datamodule") if not spec.missing], ids=lambda spec: spec.name)
def test_the_command_line_takes_the_common_options_of_every_data_module(spec: Spec) -> None:
    """A base that changes what is passed on, as `**{"colour": True, **common}`, hides all of them from the parser."""
    kind = load(spec)
    if not issubclass(kind, MedzooDataModule):
        pytest.skip("is of another package's own base")
    taken = ArgumentParser(exit_on_error=False).add_class_arguments(kind, "data", fail_untyped=False)
    assert {f"data.{name}" for name in ("batch_size", "num_workers", "seed")} <= set(taken)
