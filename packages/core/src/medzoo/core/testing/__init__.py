"""Tests that every method inherits, and the tools they share with the tests of reliability; needs pytest."""

import pytest

pytest.register_assert_rewrite(f"{__name__}.contract")

from medzoo.core.testing.contract import ModelContract  # noqa: E402 - after its asserts are told to be rewritten

__all__ = ["ModelContract"]
