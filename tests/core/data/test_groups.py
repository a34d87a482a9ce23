"""Groups of sensitive attributes, numbered; what says that nobody knows is none."""

from __future__ import annotations

from medzoo.core.data.groups import numbered


def test_values_are_numbered_in_alphabetical_order_and_those_that_nobody_knows_are_no_group() -> None:
    texts = ["m", "f", "", "Unknown", "-1", "N/A", "?", "f", "none"]
    assert numbered(texts) == (("f", "m"), [1, 0, -1, -1, -1, -1, -1, 0, -1])
