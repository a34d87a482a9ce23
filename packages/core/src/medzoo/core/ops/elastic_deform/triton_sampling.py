# ruff: noqa: E501 - signatures are listed compactly, one group a line
# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-any-return,no-untyped-call"
"""The parts of the Triton kernels: where a voxel reads, and what it finds there. Shapes and names as in `triton_kernels`."""

from __future__ import annotations

import triton
import triton.language as tl

LIMIT: tl.constexpr = tl.constexpr(268435456.0)  # 2**28, as in spline.h
NEAREST: tl.constexpr = tl.constexpr(0)
LINEAR: tl.constexpr = tl.constexpr(1)
CONSTANT: tl.constexpr = tl.constexpr(1)
REFLECTION: tl.constexpr = tl.constexpr(2)


@triton.jit
def wide(n):
    """A product of sizes in 64 bits."""
    return tl.full((), 1, tl.int64) * n


@triton.jit
def taps(t):
    """Weights of the four coefficients at t in [0, 1]."""
    s = 1.0 - t
    return (
        s * s * s * (1.0 / 6),
        (3.0 * t * t * t - 6.0 * t * t + 4.0) * (1.0 / 6),
        (3.0 * s * s * s - 6.0 * s * s + 4.0) * (1.0 / 6),
        t * t * t * (1.0 / 6),
    )


@triton.jit
def at(pointer, offset):
    """Address of offsets `(TY, TX)`, which are not negative: an unsigned one needs no extension of its sign.

    Without known alignment the hint allows no wider access; it only says along which axis neighbouring threads lie.
    """
    positive = offset if offset.dtype == tl.int64 else offset.to(tl.uint32).to(tl.uint64)
    return pointer + tl.max_contiguous(positive, [1, 2])


@triton.jit
def axis_index(lines, affine, a, b, z, y, x, first, w, D, H, NX, field_step, affine_step, off_z, off_y, off_x, position,
               ND: tl.constexpr, DENSE: tl.constexpr, AFFINE: tl.constexpr, BIG: tl.constexpr):  # fmt: skip
    """Integer index and fraction along axis a of the input, for a tile of rows and columns."""
    row = y.to(tl.int64) if BIG else y
    start = at(lines + ((wide(b * field_step) * ND + a) * D + z) * H * NX, row * NX + first[None, :])
    if DENSE:
        d = tl.load(start)
    else:
        d = w[0][None, :] * tl.load(start)
        d += w[1][None, :] * tl.load(start + 1)
        d += w[2][None, :] * tl.load(start + 2)
        d += w[3][None, :] * tl.load(start + 3)
    base = position
    if AFFINE:
        # The part of the tile's corner is split in double, only the rest (a tile wide) is added in float.
        m = affine + (b * affine_step * ND + a) * (ND + 1)
        x0, y0 = tl.min(x, 0), tl.min(tl.min(y, 1), 0)
        down, along = tl.load(m + ND - 2), tl.load(m + ND - 1)
        moved = tl.load(m + ND) + along * (x0 + off_x) + down * (y0 + off_y)
        if ND == 3:
            moved += tl.load(m) * (z + off_z)
        moved = tl.minimum(tl.maximum(moved, -LIMIT), LIMIT)
        whole_part = tl.floor(moved)
        rest = down.to(tl.float32) * (y - y0).to(tl.float32) + along.to(tl.float32) * (x - x0).to(tl.float32)[None, :]
        d += (moved - whole_part).to(tl.float32) + rest
        base += whole_part.to(tl.int32)
    d = tl.minimum(tl.maximum(d, -LIMIT), LIMIT)  # NaN becomes -limit
    whole = tl.floor(d)
    return base + whole.to(tl.int32), d - whole


@triton.jit
def cell(lines, affine, table, b, z, y, x, D, H, W, NX, field_step, affine_step, off_z, off_y, off_x,
         ND: tl.constexpr, DENSE: tl.constexpr, AFFINE: tl.constexpr, BIG: tl.constexpr):  # fmt: skip
    """Index and fraction along z, y, x (z repeats y in 2-D and is not used) of a tile within one slice."""
    first, w = x, ()
    if not DENSE:
        first = tl.load(table + x).to(tl.int32)
        w = taps(tl.load(table + W + x))
    iy, fy = axis_index(lines, affine, ND - 2, b, z, y, x, first, w, D, H, NX, field_step, affine_step, off_z, off_y, off_x,
                        y + off_y, ND, DENSE, AFFINE, BIG)  # fmt: skip
    ix, fx = axis_index(lines, affine, ND - 1, b, z, y, x, first, w, D, H, NX, field_step, affine_step, off_z, off_y, off_x,
                        y * 0 + (x + off_x)[None, :], ND, DENSE, AFFINE, BIG)  # fmt: skip
    iz, fz = iy, fy
    if ND == 3:
        iz, fz = axis_index(lines, affine, 0, b, z, y, x, first, w, D, H, NX, field_step, affine_step, off_z, off_y, off_x,
                            y * 0 + (z + off_z), ND, DENSE, AFFINE, BIG)  # fmt: skip
    return iz, iy, ix, fz, fy, fx


@triton.jit
def fold(i, n, PADDING: tl.constexpr):
    """Index under padding; for constant padding any valid one."""
    if PADDING == REFLECTION:
        period = tl.maximum(2 * (n - 1), 1)
        m = i % period
        m = tl.where(m < 0, m + period, m)  # the remainder has the sign of i
        i = tl.where(m >= n, period - m, m)
    return tl.minimum(tl.maximum(i, 0), n - 1)


@triton.jit
def row_offset(iz, iy, SD, SH, SW, ND: tl.constexpr, PADDING: tl.constexpr, BIG: tl.constexpr):
    """Offset of a row of the input within its image, and whether the row lies inside."""
    inside = (iy >= 0) & (iy < SH)
    row = fold(iy, SH, PADDING)
    if BIG:
        row = row.to(tl.int64)
    if ND == 3:
        inside = inside & (iz >= 0) & (iz < SD)
        row += fold(iz, SD, PADDING) * wide(SH) if BIG else fold(iz, SD, PADDING) * SH
    return row * SW, inside


@triton.jit
def read(image, offset, inside, fill, PADDING: tl.constexpr):
    """Value of a neighbour under padding; the offset lies within the image in any case."""
    found = tl.load(at(image, offset))
    if PADDING == CONSTANT:
        found = tl.where(inside, found, fill.to(found.dtype))
    return found


@triton.jit
def corner(iz, iy, ix, E: tl.constexpr, SD, SH, SW, ND: tl.constexpr, PADDING: tl.constexpr, BIG: tl.constexpr):
    """Offset of corner E (bits z, y, x) within an image, and whether it lies inside."""
    start, inside = row_offset(iz + (E >> 2), iy + ((E >> 1) & 1), SD, SH, SW, ND, PADDING, BIG)
    jx = ix + (E & 1)
    return start + fold(jx, SW, PADDING), inside & (jx >= 0) & (jx < SW)


@triton.jit
def value(
    image, iz, iy, ix, E: tl.constexpr, SD, SH, SW, fill, ND: tl.constexpr, PADDING: tl.constexpr, BIG: tl.constexpr
):
    """Value of corner E under padding."""
    offset, inside = corner(iz, iy, ix, E, SD, SH, SW, ND, PADDING, BIG)
    return read(image, offset, inside, fill, PADDING)


@triton.jit
def mix(a, b, f):
    """Linear interpolation; exactly `a` for f = 0."""
    return a + f * (b - a)


@triton.jit
def row_pair(image, start, inside, x0, x1, in0, in1, fill, PADDING: tl.constexpr):
    """The two neighbours of one row of the input, in float32."""
    a = read(image, start + x0, inside & in0, fill, PADDING).to(tl.float32)
    b = read(image, start + x1, inside & in1, fill, PADDING).to(tl.float32)
    return a, b


@triton.jit
def plane_slope(image, iz, iy, x0, x1, in0, in1, fy, fx, SD, SH, SW, fill, ND: tl.constexpr, PADDING: tl.constexpr,
                BIG: tl.constexpr):  # fmt: skip
    """Value within one slice of the input and its slopes along y and x."""
    s0, inside0 = row_offset(iz, iy, SD, SH, SW, ND, PADDING, BIG)
    s1, inside1 = row_offset(iz, iy + 1, SD, SH, SW, ND, PADDING, BIG)
    a0, b0 = row_pair(image, s0, inside0, x0, x1, in0, in1, fill, PADDING)
    a1, b1 = row_pair(image, s1, inside1, x0, x1, in0, in1, fill, PADDING)
    v0, v1 = mix(a0, b0, fx), mix(a1, b1, fx)
    return mix(v0, v1, fy), v1 - v0, mix(b0 - a0, b1 - a1, fy)


@triton.jit
def linear(image, iz, iy, ix, fz, fy, fx, SD, SH, SW, fill, ND: tl.constexpr, PADDING: tl.constexpr, BIG: tl.constexpr):
    """Interpolated value and its slopes along z, y and x (what is not used costs nothing)."""
    x0, x1 = fold(ix, SW, PADDING), fold(ix + 1, SW, PADDING)
    in0, in1 = (ix >= 0) & (ix < SW), (ix >= -1) & (ix < SW - 1)
    v, dy, dx = plane_slope(image, iz, iy, x0, x1, in0, in1, fy, fx, SD, SH, SW, fill, ND, PADDING, BIG)
    dz = dy
    if ND == 3:
        u, ey, ex = plane_slope(image, iz + 1, iy, x0, x1, in0, in1, fy, fx, SD, SH, SW, fill, ND, PADDING, BIG)
        dz, v, dy, dx = u - v, mix(v, u, fz), mix(dy, ey, fz), mix(dx, ex, fz)
    return v, dz, dy, dx


@triton.constexpr_function
def ordered(k, nd):
    """Bits (z, y, x) of the k-th corner in the order of the C++ (bits x, y, z), which decides between labels of equal weight."""
    return ((k & 1) << (nd - 1)) | (k & (2 * (nd - 2))) | (k >> (nd - 1))


@triton.jit
def share(fz, fy, fx, E: tl.constexpr, ND: tl.constexpr):
    """Linear weight of corner E."""
    w = fx if E & 1 else 1.0 - fx
    w *= fy if E & 2 else 1.0 - fy
    if ND == 3:
        w *= fz if E & 4 else 1.0 - fz
    return w


@triton.jit
def label(image, iz, iy, ix, fz, fy, fx, SD, SH, SW, fill, ND: tl.constexpr, PADDING: tl.constexpr, BIG: tl.constexpr):
    """The label with the largest summed weight; the nearest corner first, so that it wins ties, then z before y before x."""
    best = value(image, iz + (fz >= 0.5), iy + (fy >= 0.5), ix + (fx >= 0.5), 0, SD, SH, SW, fill, ND, PADDING, BIG)
    score = tl.zeros_like(fx)
    for k in tl.static_range(2**ND):
        own = value(image, iz, iy, ix, ordered(k, ND), SD, SH, SW, fill, ND, PADDING, BIG)
        score += tl.where(own == best, share(fz, fy, fx, ordered(k, ND), ND), 0.0)
    for k in tl.static_range(2**ND):
        own = value(image, iz, iy, ix, ordered(k, ND), SD, SH, SW, fill, ND, PADDING, BIG)
        total = tl.zeros_like(fx)
        for g in tl.static_range(2**ND):
            other = value(image, iz, iy, ix, ordered(g, ND), SD, SH, SW, fill, ND, PADDING, BIG)
            total += tl.where(other == own, share(fz, fy, fx, ordered(g, ND), ND), 0.0)
        best = tl.where(total > score, own, best)
        score = tl.maximum(total, score)
    return best


@triton.jit
def places(y0, x0, H, W, TY: tl.constexpr, TX: tl.constexpr, LX: tl.constexpr):
    """Rows `(TY, TX)` and columns `(TX,)` of a tile, and which exist; those that do not repeat the last.

    32 neighbouring threads take LX columns of 32 / LX rows: under a deformation a compact patch touches fewer sectors of memory than a
    long row. TX of the tile's columns therefore are TX // 32 patches side by side, and each of its TY rows is 32 / LX rows of voxels.
    """
    c = tl.arange(0, TX)
    x = x0 + (c // 32) * LX + c % LX
    y = (y0 + tl.arange(0, TY) * (32 // LX))[:, None] + ((c // LX) % (32 // LX))[None, :]
    return tl.minimum(y, H - 1), tl.minimum(x, W - 1), (y < H) & (x < W)[None, :]


@triton.jit
def tile_of(D, H, W, TY: tl.constexpr, TX: tl.constexpr, LX: tl.constexpr):
    """Sample, slice, rows and columns of this program.

    All tiles are on one axis of the grid, because the others end at 65,535.
    """
    height: tl.constexpr = TY * (32 // LX)
    width: tl.constexpr = TX // (32 // LX)
    tiles_x, tiles_y = tl.cdiv(W, width), tl.cdiv(H, height)
    rest = tl.program_id(0) // tiles_x
    slices = rest // tiles_y
    y, x, live = places((rest % tiles_y) * height, (tl.program_id(0) % tiles_x) * width, H, W, TY, TX, LX)
    return slices // D, slices % D, y, x, live


@triton.jit
def of_slice(pointer, image, z, y, x, D, H, W, BIG: tl.constexpr):
    """Address of the tile in a tensor of the output's size."""
    row = y.to(tl.int64) if BIG else y
    return at(pointer + (wide(image) * D + z) * H * W, row * W + x[None, :])


@triton.jit
def scatter(target, part, scale, keep, FIXED: tl.constexpr):
    """Add where several programs may: floats in any order, or fixed-point integers, whose sum does not depend on it."""
    if FIXED:
        tl.atomic_add(target, (part * scale).to(tl.int64), mask=keep, sem="relaxed")
    else:
        tl.atomic_add(target, part, mask=keep, sem="relaxed")
