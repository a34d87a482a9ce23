"""Groups of sensitive attributes, numbered; what says that nobody knows is none."""

from __future__ import annotations

import pytest

from medzoo.core.data.groups import is_unknown, numbered


def test_values_are_numbered_in_alphabetical_order_and_those_that_nobody_knows_are_no_group() -> None:
    texts = ["m", "f", "", "Unknown", "-1", "N/A", "?", "f", "none"]
    assert numbered(texts) == (("f", "m"), [1, 0, -1, -1, -1, -1, -1, 0, -1])


def test_an_audit_takes_the_same_texts_for_unknown() -> None:
    attributes = pytest.importorskip("medzoo.fairness.audit.attributes")
    assert all(is_unknown(text) for text in attributes.UNKNOWN)
