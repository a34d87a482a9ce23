"""Tests that every method, data module and selector inherits, and the tools they share; needs pytest."""

import pytest

for _name in ("contract", "data", "selector"):
    pytest.register_assert_rewrite(f"{__name__}.{_name}")

from medzoo.core.testing.contract import ModelContract  # noqa: E402 - after its asserts are registered for rewriting
from medzoo.core.testing.data import DataModuleContract  # noqa: E402
from medzoo.core.testing.selector import SelectorContract  # noqa: E402

__all__ = ["DataModuleContract", "ModelContract", "SelectorContract"]
