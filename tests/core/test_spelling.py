from __future__ import annotations

import pytest

from medzoo.core.spelling import nearest


@pytest.mark.parametrize(
    ("word", "found"), [("IMG1", ["img1"]), ("img1", ["img1"]), ("Img_1", ["img1"]), ("zzz", []), ("SELLA", ["Sella"])]
)
def test_case_does_not_count_and_the_known_spelling_is_returned(word: str, found: list[str]) -> None:
    assert nearest(word, ["Sella", "img1", "nasion"]) == found
