"""Exact area coverage of weighted polygons: the one place where outlines become pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Pieces = tuple[Array, ...]


def _keep_freed_memory() -> None:
    """Free one large block, which is never touched: glibc then keeps freed memory of up to twice its size.

    Otherwise it returns the temporary arrays of every image to the kernel and has them faulted in again for the next,
    which takes more time than the arithmetic (mallopt(3), "dynamic mmap threshold").
    """
    np.empty(8 << 20, dtype=np.uint8)


_keep_freed_memory()


def coverage(start: Array, end: Array, weight: Array, size: tuple[int, int]) -> Array:
    """Sum of polygons, each worth its weight times the share of every pixel that it covers.

    The integral of the polygon's inside over each pixel is computed exactly (signed trapezoids under the edges, summed
    along the row), so outlines move the image smoothly with any sub-pixel shift, and any number of polygons costs one
    pass over the pixels because the sum is linear.

    Args:
        start: `(E, 2)` x, y of the edges' first ends; pixel `(r, c)` is the square `[c, c+1) x [r, r+1)`.
        end: `(E, 2)` x, y of their second ends; the edges of each polygon must close.
        weight: `(E,)` value of the polygon that the edge belongs to, positive where x, y, turning from the first axis
            towards the second, goes round the inside.
        size: Height and width of the result.

    Returns:
        `(H, W)` float64.
    """
    height, width = size
    x0, y0, x1, y1 = start[:, 0], start[:, 1], end[:, 0], end[:, 1]
    seen = (y0 != y1) & (np.minimum(y0, y1) < height) & (np.maximum(y0, y1) > 0) & (np.minimum(x0, x1) < width)
    edges = tuple(part.take(np.flatnonzero(seen)) for part in (y0, x0, y1, x1, weight))
    parts = [
        _change(piece, size) for y0, x0, y1, x1, value in _split(edges) for piece in _split((x0, y0, x1, y1, value))
    ]
    index, amount, left = (np.concatenate(part) for part in zip(*parts, strict=True))
    length = height * (width + 1)
    total: Array = np.bincount(index, amount, length).reshape(height, width + 1).astype(np.float64, copy=False)
    np.cumsum(total, axis=1, out=total)
    total -= np.bincount(index, left, length).reshape(height, width + 1)
    return total[:, :width]


def _change(piece: Pieces, size: tuple[int, int]) -> tuple[NDArray[np.intp], Array, Array]:
    """What edges that lie within one pixel each change from it onwards along its row, and what they spare in itself."""
    x0, y0, x1, y1, value = piece
    height, width = size
    middle = 0.5 * (x0 + x1)
    np.clip(middle, 0.0, width, out=middle)  # whatever lies left of the image opens the row in its first pixel
    row = np.floor(0.5 * (y0 + y1)).astype(np.intp)
    column = middle.astype(np.intp)
    amount = (y0 - y1) * value
    outside = (row < 0) | (row >= height)
    if outside.any():
        amount[outside] = 0.0
        row[outside] = 0
    return row * (width + 1) + column, amount, amount * (middle - column)


def _split(edges: Pieces) -> list[Pieces]:
    """Cut segments `a0, b0, a1, b1, value` wherever `a` crosses an integer: those left whole, then the pieces."""
    a0, b0, a1, b1, value = edges
    first, last = np.floor(a0), np.floor(a1)
    crossing = first != last
    cut_up, whole = np.flatnonzero(crossing), np.flatnonzero(~crossing)  # taking by index is faster than by mask
    if not len(cut_up):
        return [edges]
    a0, b0, a1, b1, value, first, last = (part.take(cut_up) for part in (*edges, first, last))
    pieces = (np.abs(last - first) + 1).astype(np.intp)
    ends = np.cumsum(pieces)
    begin = ends - pieces
    step = np.sign(last - first)
    slope = (b1 - b0) / (a1 - a0)
    # The cut before piece k is first + k going up and first - k + 1 going down: an affine function of the place.
    offset = first + (step < 0) - step * begin
    start_a = np.repeat(step, pieces)
    start_a *= np.arange(ends[-1], dtype=np.float64)
    start_a += np.repeat(offset, pieces)
    start_b = np.repeat(slope, pieces)
    start_b *= start_a
    start_b += np.repeat(b0 - slope * a0, pieces)
    start_a[begin], start_b[begin] = a0, b0
    end_a, end_b = np.empty_like(start_a), np.empty_like(start_b)
    end_a[:-1], end_b[:-1] = start_a[1:], start_b[1:]
    end_a[ends - 1], end_b[ends - 1] = a1, b1
    cut = (start_a, start_b, end_a, end_b, np.repeat(value, pieces))
    return [tuple(part.take(whole) for part in edges), cut]
