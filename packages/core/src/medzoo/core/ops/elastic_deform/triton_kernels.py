# ruff: noqa: E501 - kernel signatures are listed compactly, one group a line
# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-any-return,no-untyped-call"
"""The CUDA kernels in Triton: one program per tile of rows, displacement in registers, one read and one write per voxel.

A row's coefficients (`lines`, z and y already reduced by two small matrix products) are evaluated along x, split into integer and
fraction, and sampled at once. The same source runs under TRITON_INTERPRET=1 on the CPU, which is how CI tests it.

Shapes: image `(B, C, *S)`, lines `(B | 1, ND, rows, NX)`, dense field `(B | 1, ND, rows, W)`, affine `(B | 1, ND, ND + 1)` float64.
"""

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
    """An integer argument in 64 bits; Triton makes those that are 1 constants, which have no `to`."""
    return tl.full((), n, tl.int64)


@triton.jit
def taps(t, M: tl.constexpr):
    """Weight of the M-th of four coefficients at t in [0, 1]."""
    s = 1.0 - t
    if M == 0:
        return s * s * s * (1.0 / 6)
    if M == 1:
        return (3.0 * t * t * t - 6.0 * t * t + 4.0) * (1.0 / 6)
    if M == 2:
        return (3.0 * s * s * s - 6.0 * s * s + 4.0) * (1.0 / 6)
    return t * t * t * (1.0 / 6)


@triton.jit
def axis_index(field, affine, spans, ts, a, b, rows, x, live, n_rows, W, NX, field_step, affine_step, off_z, off_y, off_x, H,
               position, ND: tl.constexpr, DENSE: tl.constexpr, AFFINE: tl.constexpr):  # fmt: skip
    """Integer index and fraction along axis a of the input, for a tile of rows and columns."""
    line = ((b * field_step * ND + a).to(tl.int64) * n_rows + rows) * NX
    if DENSE:
        d = tl.load(field + line[:, None] + x[None, :], mask=live, other=0.0)
    else:
        column = tl.load(spans + x, mask=x < W, other=0)
        t = tl.load(ts + x, mask=x < W, other=0.0)
        start = field + line[:, None] + column[None, :]
        d = taps(t, 0)[None, :] * tl.load(start, mask=live, other=0.0)
        d += taps(t, 1)[None, :] * tl.load(start + 1, mask=live, other=0.0)
        d += taps(t, 2)[None, :] * tl.load(start + 2, mask=live, other=0.0)
        d += taps(t, 3)[None, :] * tl.load(start + 3, mask=live, other=0.0)
    base = position
    if AFFINE:
        # The part that a row shares is split in double, only the rest (a tile wide) is added in float.
        m = affine + (b * affine_step * ND + a) * (ND + 1)
        x0 = tl.min(x, 0)
        along = tl.load(m + ND - 1)
        row = tl.load(m + ND) + along * (x0 + off_x) + tl.load(m + ND - 2) * (rows % H + off_y)
        if ND == 3:
            row += tl.load(m) * (rows // H + off_z)
        row = tl.minimum(tl.maximum(row, -LIMIT), LIMIT)
        whole_row = tl.floor(row)
        d += (row - whole_row).to(tl.float32)[:, None] + along.to(tl.float32) * (x - x0).to(tl.float32)[None, :]
        base += whole_row.to(tl.int32)[:, None]
    d = tl.where(d > -LIMIT, d, -LIMIT)  # NaN becomes -limit
    d = tl.where(d < LIMIT, d, LIMIT)
    whole = tl.floor(d)
    return base + whole.to(tl.int32), d - whole


@triton.jit
def cell(field, affine, spans, ts, b, rows, x, live, n_rows, W, NX, field_step, affine_step, off_z, off_y, off_x, H,
         ND: tl.constexpr, DENSE: tl.constexpr, AFFINE: tl.constexpr):  # fmt: skip
    """Index and fraction along z, y, x (z repeats y in 2-D and is not used)."""
    flat = tl.zeros_like(rows[:, None] + x[None, :])
    iy, fy = axis_index(field, affine, spans, ts, ND - 2, b, rows, x, live, n_rows, W, NX, field_step, affine_step, off_z, off_y,
                        off_x, H, flat + (rows % H + off_y)[:, None], ND, DENSE, AFFINE)  # fmt: skip
    ix, fx = axis_index(field, affine, spans, ts, ND - 1, b, rows, x, live, n_rows, W, NX, field_step, affine_step, off_z, off_y,
                        off_x, H, flat + (x + off_x)[None, :], ND, DENSE, AFFINE)  # fmt: skip
    iz, fz = iy, fy
    if ND == 3:
        iz, fz = axis_index(field, affine, spans, ts, 0, b, rows, x, live, n_rows, W, NX, field_step, affine_step, off_z, off_y,
                            off_x, H, flat + (rows // H + off_z)[:, None], ND, DENSE, AFFINE)  # fmt: skip
    return iz, iy, ix, fz, fy, fx


@triton.jit
def fold(i, n, PADDING: tl.constexpr):
    """Index of a neighbour under padding; for constant padding any valid one."""
    if PADDING == REFLECTION:
        period = tl.maximum(2 * (n - 1), 1)
        m = i % period
        m = tl.where(m < 0, m + period, m)  # the remainder has the sign of i
        i = tl.where(m >= n, period - m, m)
    return tl.minimum(tl.maximum(i, 0), n - 1)


@triton.jit
def corner(iz, iy, ix, E: tl.constexpr, SD, SH, SW, ND: tl.constexpr, PADDING: tl.constexpr):
    """Offset of corner E (bits z, y, x) within an image, and whether it lies inside."""
    jy, jx = iy + ((E >> 1) & 1), ix + (E & 1)
    inside = (jy >= 0) & (jy < SH) & (jx >= 0) & (jx < SW)
    offset = fold(jy, SH, PADDING).to(tl.int64)
    if ND == 3:
        jz = iz + (E >> 2)
        inside = inside & (jz >= 0) & (jz < SD)
        offset += fold(jz, SD, PADDING).to(tl.int64) * SH
    return offset * SW + fold(jx, SW, PADDING), inside


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
def read(image, iz, iy, ix, E: tl.constexpr, live, SD, SH, SW, fill, ND: tl.constexpr, PADDING: tl.constexpr):
    """Value of corner E under padding."""
    offset, inside = corner(iz, iy, ix, E, SD, SH, SW, ND, PADDING)
    if PADDING == CONSTANT:
        value = tl.load(image + offset, mask=live & inside, other=0)
        return tl.where(inside, value, fill.to(value.dtype))
    return tl.load(image + offset, mask=live, other=0)


@triton.jit
def forward_kernel(image, out, field, affine, spans, ts, fills, C, n_rows, H, W, NX, SD, SH, SW, field_step, affine_step, off_z,
                   off_y, off_x, ND: tl.constexpr, DENSE: tl.constexpr, AFFINE: tl.constexpr, ORDER: tl.constexpr,
                   PADDING: tl.constexpr, TY: tl.constexpr, TX: tl.constexpr):  # fmt: skip
    """Warp one tile of TY rows by TX columns of one sample, all channels."""
    tiles_x = tl.cdiv(W, TX)
    tiles = tl.cdiv(n_rows, TY) * tiles_x
    b = tl.program_id(0) // tiles  # with the tiles on one axis of the grid: the others end at 65,535
    tile = tl.program_id(0) % tiles
    rows = (tile // tiles_x) * TY + tl.arange(0, TY)
    x = (tile % tiles_x) * TX + tl.arange(0, TX)
    live = (rows < n_rows)[:, None] & (x < W)[None, :]
    iz, iy, ix, fz, fy, fx = cell(field, affine, spans, ts, b, rows, x, live, n_rows, W, NX, field_step, affine_step, off_z, off_y,
                                  off_x, H, ND, DENSE, AFFINE)  # fmt: skip
    fill = tl.load(fills)
    volume = wide(SD) * SH * SW
    for c in range(C):
        source = image + (b * C + c) * volume
        target = out + ((b * C + c).to(tl.int64) * n_rows + rows[:, None]) * W + x[None, :]
        if ORDER == NEAREST:
            value = read(
                source, iz + (fz >= 0.5), iy + (fy >= 0.5), ix + (fx >= 0.5), 0, live, SD, SH, SW, fill, ND, PADDING
            )
            tl.store(target, value, mask=live)
        elif ORDER == LINEAR:
            total = tl.zeros((TY, TX), tl.float32)
            for e in tl.static_range(2**ND):
                total += share(fz, fy, fx, e, ND) * read(source, iz, iy, ix, e, live, SD, SH, SW, fill, ND, PADDING)
            tl.store(target, total, mask=live)
        else:
            # The label with the largest summed weight; the nearest corner first, so that it wins ties, then z before y before x.
            best = read(
                source, iz + (fz >= 0.5), iy + (fy >= 0.5), ix + (fx >= 0.5), 0, live, SD, SH, SW, fill, ND, PADDING
            )
            score = tl.zeros((TY, TX), tl.float32)
            for k in tl.static_range(2**ND):
                label = read(source, iz, iy, ix, ordered(k, ND), live, SD, SH, SW, fill, ND, PADDING)
                score += tl.where(label == best, share(fz, fy, fx, ordered(k, ND), ND), 0.0)
            for k in tl.static_range(2**ND):
                label = read(source, iz, iy, ix, ordered(k, ND), live, SD, SH, SW, fill, ND, PADDING)
                sum_k = tl.zeros((TY, TX), tl.float32)
                for g in tl.static_range(2**ND):
                    other = read(source, iz, iy, ix, ordered(g, ND), live, SD, SH, SW, fill, ND, PADDING)
                    sum_k += tl.where(other == label, share(fz, fy, fx, ordered(g, ND), ND), 0.0)
                best = tl.where(sum_k > score, label, best)
                score = tl.maximum(sum_k, score)
            tl.store(target, best, mask=live)


@triton.jit
def backward_kernel(image, grad_out, grad_image, grad_field, grad_rows, field, affine, spans, ts, basis, fills, scales, C, n_rows, H,
                    W, NX, NP, SD, SH, SW, field_step, affine_step, off_z, off_y, off_x, ND: tl.constexpr, DENSE: tl.constexpr,
                    AFFINE: tl.constexpr, PADDING: tl.constexpr, NEED_IMAGE: tl.constexpr, NEED_FIELD: tl.constexpr,
                    FIXED: tl.constexpr, TY: tl.constexpr, TX: tl.constexpr, TN: tl.constexpr):  # fmt: skip
    """Adjoint of linear sampling for TY whole rows of one sample, and TN columns of their coefficients.

    Writes ∂L/∂lines `(B, ND, rows, NP)` (one writer each: deterministic), or ∂L/∂d for a dense field, and per row Σ g and Σ g x for the
    affine part. The image gradient is scattered by atomic additions: of floats, or of fixed-point integers (FIXED), whose sum does
    not depend on the order.
    """
    tiles = tl.cdiv(n_rows, TY)
    b = tl.program_id(0) // tiles
    block = tl.program_id(1)
    rows = (tl.program_id(0) % tiles) * TY + tl.arange(0, TY)
    column = block * TN + tl.arange(0, TN)
    only_first = rows * 0 + block == 0  # what does not depend on the block of columns is written once
    fill = tl.load(fills)
    scale = tl.load(scales)
    volume = wide(SD) * SH * SW
    acc_z, acc_y, acc_x = tl.zeros((TY, TN), tl.float32), tl.zeros((TY, TN), tl.float32), tl.zeros((TY, TN), tl.float32)
    sum_z, sum_y, sum_x = tl.zeros((TY,), tl.float32), tl.zeros((TY,), tl.float32), tl.zeros((TY,), tl.float32)
    mom_z, mom_y, mom_x = tl.zeros((TY,), tl.float32), tl.zeros((TY,), tl.float32), tl.zeros((TY,), tl.float32)
    for tile in range(tl.cdiv(W, TX)):
        x = tile * TX + tl.arange(0, TX)
        live = (rows < n_rows)[:, None] & (x < W)[None, :]
        iz, iy, ix, fz, fy, fx = cell(field, affine, spans, ts, b, rows, x, live, n_rows, W, NX, field_step, affine_step, off_z, off_y,
                                      off_x, H, ND, DENSE, AFFINE)  # fmt: skip
        dz, dy, dx = tl.zeros((TY, TX), tl.float32), tl.zeros((TY, TX), tl.float32), tl.zeros((TY, TX), tl.float32)
        for c in range(C):
            source = (b * C + c) * volume
            at = ((b * C + c).to(tl.int64) * n_rows + rows[:, None]) * W + x[None, :]
            g = tl.load(grad_out + at, mask=live, other=0.0)
            for e in tl.static_range(2**ND):
                if NEED_FIELD:
                    v = g * read(image + source, iz, iy, ix, e, live, SD, SH, SW, fill, ND, PADDING)
                    wx = fx if e & 1 else 1.0 - fx
                    wy = fy if e & 2 else 1.0 - fy
                    if ND == 3:
                        wz = fz if e & 4 else 1.0 - fz
                        dz += (v if e & 4 else -v) * wy * wx
                        v = v * wz
                    dy += (v if e & 2 else -v) * wx
                    dx += (v if e & 1 else -v) * wy
                if NEED_IMAGE:
                    offset, inside = corner(iz, iy, ix, e, SD, SH, SW, ND, PADDING)
                    keep = live & only_first[:, None]
                    if PADDING == CONSTANT:
                        keep = keep & inside
                    part = share(fz, fy, fx, e, ND) * g
                    if FIXED:
                        tl.atomic_add(grad_image + source + offset, (part * scale).to(tl.int64), mask=keep)
                    else:
                        tl.atomic_add(grad_image + source + offset, part, mask=keep)
        if NEED_FIELD:
            if DENSE:
                to = grad_field + ((b * ND).to(tl.int64) * n_rows + rows[:, None]) * W + x[None, :]
                step = wide(n_rows) * W
                if ND == 3:
                    tl.store(to, dz, mask=live)
                tl.store(to + (ND - 2) * step, dy, mask=live)
                tl.store(to + (ND - 1) * step, dx, mask=live)
            else:
                weight = tl.load(basis + x[:, None] * NP + column[None, :], mask=(x < W)[:, None], other=0.0)
                acc_y += tl.dot(dy, weight, input_precision="ieee")
                acc_x += tl.dot(dx, weight, input_precision="ieee")
                if ND == 3:
                    acc_z += tl.dot(dz, weight, input_precision="ieee")
            if AFFINE:
                place = (x + off_x).to(tl.float32)[None, :]
                sum_y += tl.sum(dy, 1)
                sum_x += tl.sum(dx, 1)
                mom_y += tl.sum(dy * place, 1)
                mom_x += tl.sum(dx * place, 1)
                if ND == 3:
                    sum_z += tl.sum(dz, 1)
                    mom_z += tl.sum(dz * place, 1)
    alive = rows < n_rows
    if NEED_FIELD and not DENSE:
        to = grad_field + ((b * ND).to(tl.int64) * n_rows + rows[:, None]) * NP + column[None, :]
        step = wide(n_rows) * NP
        if ND == 3:
            tl.store(to, acc_z, mask=alive[:, None])
        tl.store(to + (ND - 2) * step, acc_y, mask=alive[:, None])
        tl.store(to + (ND - 1) * step, acc_x, mask=alive[:, None])
    if NEED_FIELD and AFFINE:
        first = alive & only_first
        to = grad_rows + ((b * ND).to(tl.int64) * n_rows + rows) * 2
        step = wide(n_rows) * 2
        if ND == 3:
            tl.store(to, sum_z, mask=first)
            tl.store(to + 1, mom_z, mask=first)
        tl.store(to + (ND - 2) * step, sum_y, mask=first)
        tl.store(to + (ND - 2) * step + 1, mom_y, mask=first)
        tl.store(to + (ND - 1) * step, sum_x, mask=first)
        tl.store(to + (ND - 1) * step + 1, mom_x, mask=first)


@triton.jit
def nearest_backward_kernel(grad_out, grad_image, field, affine, spans, ts, scales, C, n_rows, H, W, NX, SD, SH, SW, field_step,
                            affine_step, off_z, off_y, off_x, ND: tl.constexpr, DENSE: tl.constexpr, AFFINE: tl.constexpr,
                            PADDING: tl.constexpr, FIXED: tl.constexpr, TY: tl.constexpr, TX: tl.constexpr):  # fmt: skip
    """Scatter the gradient of nearest sampling, one tile of one sample."""
    tiles_x = tl.cdiv(W, TX)
    tiles = tl.cdiv(n_rows, TY) * tiles_x
    b = tl.program_id(0) // tiles  # with the tiles on one axis of the grid: the others end at 65,535
    tile = tl.program_id(0) % tiles
    rows = (tile // tiles_x) * TY + tl.arange(0, TY)
    x = (tile % tiles_x) * TX + tl.arange(0, TX)
    live = (rows < n_rows)[:, None] & (x < W)[None, :]
    iz, iy, ix, fz, fy, fx = cell(field, affine, spans, ts, b, rows, x, live, n_rows, W, NX, field_step, affine_step, off_z, off_y,
                                  off_x, H, ND, DENSE, AFFINE)  # fmt: skip
    offset, inside = corner(iz + (fz >= 0.5), iy + (fy >= 0.5), ix + (fx >= 0.5), 0, SD, SH, SW, ND, PADDING)
    keep = live
    if PADDING == CONSTANT:
        keep = live & inside
    scale = tl.load(scales)
    volume = wide(SD) * SH * SW
    for c in range(C):
        g = tl.load(
            grad_out + ((b * C + c).to(tl.int64) * n_rows + rows[:, None]) * W + x[None, :], mask=live, other=0.0
        )
        target = grad_image + (b * C + c) * volume + offset
        if FIXED:
            tl.atomic_add(target, (g * scale).to(tl.int64), mask=keep)
        else:
            tl.atomic_add(target, g, mask=keep)
