from __future__ import annotations

import math
import multiprocessing
import pickle
import sys

import numpy as np
import pytest

from medzoo.core.data.cache import ImageCache, Prepared

KEYS = [(0, f"i{i}") for i in range(1000)]


def prepared(value: float) -> Prepared:
    return Prepared(np.full((8, 16), value, np.float16), (30, 20), (0.5, math.nan))


def test_memory_is_bounded_whatever_the_number_of_images() -> None:
    sizes = []
    for count in (10, 100, 1000):
        cache = ImageCache(KEYS[:count], (8, 16), limit=20_000)
        for number, key in enumerate(KEYS[:count]):
            cache.put(key, prepared(number / 1000))
        sizes.append(cache.nbytes)
        assert cache.nbytes <= 20_000
        assert len(cache) == min(count, 20_000 // (2 * 8 * 16 + 40))
    assert sizes[0] < sizes[1] == sizes[2]


def test_what_is_put_is_got_back_and_what_has_no_slot_is_not() -> None:
    cache = ImageCache(KEYS[:4], (8, 16), limit=3 * (256 + 40))
    assert cache.get(KEYS[0]) is None
    for number, key in enumerate(KEYS[:4]):
        cache.put(key, prepared(number / 8))
    for number in range(3):
        found = cache.get(KEYS[number])
        assert found is not None
        assert np.array_equal(found.image, np.full((8, 16), number / 8, np.float16))
        assert found.size == (30, 20)
        assert found.spacing[0] == 0.5
        assert math.isnan(found.spacing[1])
    assert cache.get(KEYS[3]) is None
    assert ImageCache(KEYS, (8, 16), limit=0).get(KEYS[0]) is None


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_forked_processes_fill_one_memory() -> None:
    cache = ImageCache(KEYS[:2], (8, 16), limit=10_000)
    child = multiprocessing.get_context("fork").Process(target=cache.put, args=(KEYS[1], prepared(0.25)))
    child.start()
    child.join()
    found = cache.get(KEYS[1])
    assert found is not None
    assert float(found.image[0, 0]) == 0.25


def test_spawned_processes_get_a_share_of_the_limit_each() -> None:
    cache = ImageCache(KEYS, (8, 16), limit=40_000, processes=4)
    copy = pickle.loads(pickle.dumps(cache))
    assert copy.nbytes <= 10_000
    assert len(pickle.dumps(cache)) < 40_000  # the images themselves do not travel
    copy.put(KEYS[0], prepared(0.5))
    assert cache.get(KEYS[0]) is None
