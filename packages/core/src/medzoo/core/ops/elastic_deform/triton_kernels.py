# ruff: noqa: E501 - kernel signatures are listed compactly, one group a line
# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-any-return,no-untyped-call"
"""The CUDA kernels in Triton: one program per tile of rows, displacement in registers, one read and one write per voxel.

`lines_kernel` reduces z and y of the coefficients, once for each row. The others evaluate a row's few coefficients along x, split the
displacement into integer and fraction, and sample at once. The same source runs under TRITON_INTERPRET=1 on the CPU, which is how CI
tests its values.

No argument is specialised by its value: a size of 1 is no constant, another size compiles nothing anew, and because no alignment is
known, neighbouring threads take neighbouring voxels, so that gathers and atomic additions are coalesced.

Shapes: image `(B, C, *S)`, coefficients `(B | 1, ND, NZ, NY, NX)`, lines `(B | 1, ND, rows, NX)`, dense field `(B | 1, ND, rows, W)`,
affine `(B | 1, ND, ND + 1)` float64. Tables `(2, size)` hold the first of the four coefficients of each voxel, then its parameter t.
BIG: an offset within one image may exceed 2**31 elements.
"""

from __future__ import annotations

import triton
import triton.language as tl

from medzoo.core.ops.elastic_deform.triton_sampling import (
    CONSTANT,
    LINEAR,
    NEAREST,
    at,
    cell,
    corner,
    label,
    linear,
    of_slice,
    places,
    scatter,
    share,
    taps,
    tile_of,
    value,
    wide,
)

GEOMETRY = ("lines", "affine", "table", "C", "D", "H", "W", "NX", "SD", "SH", "SW", "field_step", "affine_step",
            "off_z", "off_y", "off_x")  # fmt: skip
"""The arguments that say where each voxel reads, the same for every kernel that samples."""


@triton.jit(do_not_specialize=["coefficients", "lines", "table_z", "table_y", "NZ", "NY", "NX", "D", "H"])
def lines_kernel(coefficients, lines, table_z, table_y, NZ, NY, NX, D, H, ND: tl.constexpr, TR: tl.constexpr, TN: tl.constexpr):  # fmt: skip
    """Evaluate z and y: TR rows of a slice by TN columns of one axis of one field."""
    bands = tl.cdiv(H, TR)
    slices = tl.program_id(0) // bands
    plane, z = slices // D, slices % D  # sample and axis; slice
    y = (tl.program_id(0) % bands) * TR + tl.arange(0, TR)
    column = tl.program_id(1) * TN + tl.arange(0, TN)
    live = (y < H)[:, None] & (column < NX)[None, :]
    row, column = tl.minimum(y, H - 1), tl.minimum(column, NX - 1)
    start = coefficients + wide(plane) * NZ * NY * NX
    wy = taps(tl.load(table_y + H + row))
    first = tl.load(table_y + row).to(tl.int32)
    if ND == 3:
        start += tl.load(table_z + z).to(tl.int32) * NY * NX
        wz = taps(tl.load(table_z + D + z))
    total = tl.zeros((TR, TN), tl.float32)
    for i in tl.static_range(4 if ND == 3 else 1):
        part = tl.zeros((TR, TN), tl.float32)
        for j in tl.static_range(4):
            part += wy[j][:, None] * tl.load(start + ((i * NY + first + j)[:, None] * NX + column[None, :]))
        if ND == 3:
            total += wz[i] * part
        else:
            total = part
    tl.store(lines + (wide(plane) * D * H + z * H) * NX + (y[:, None] * NX + column[None, :]), total, mask=live)


@triton.jit(do_not_specialize=["image", "out", "fills", *GEOMETRY])
def forward_kernel(image, out, fills, lines, affine, table, C, D, H, W, NX, SD, SH, SW, field_step, affine_step, off_z, off_y,
                   off_x, ND: tl.constexpr, DENSE: tl.constexpr, AFFINE: tl.constexpr, BIG: tl.constexpr, ORDER: tl.constexpr,
                   PADDING: tl.constexpr, TY: tl.constexpr, TX: tl.constexpr, LX: tl.constexpr):  # fmt: skip
    """Warp one tile of TY rows by TX columns of one sample, all channels."""
    b, z, y, x, live = tile_of(D, H, W, TY, TX, LX)
    iz, iy, ix, fz, fy, fx = cell(lines, affine, table, b, z, y, x, D, H, W, NX, field_step, affine_step, off_z, off_y, off_x, ND,
                                  DENSE, AFFINE, BIG)  # fmt: skip
    fill = tl.load(fills)
    for c in range(C):
        source = image + wide(b * C + c) * SD * SH * SW
        if ORDER == NEAREST:
            result = value(
                source, iz + (fz >= 0.5), iy + (fy >= 0.5), ix + (fx >= 0.5), 0, SD, SH, SW, fill, ND, PADDING, BIG
            )
        elif ORDER == LINEAR:
            result, _, _, _ = linear(source, iz, iy, ix, fz, fy, fx, SD, SH, SW, fill, ND, PADDING, BIG)
        else:
            result = label(source, iz, iy, ix, fz, fy, fx, SD, SH, SW, fill, ND, PADDING, BIG)
        tl.store(of_slice(out, b * C + c, z, y, x, D, H, W, BIG), result, mask=live)


@triton.jit(do_not_specialize=["grad_out", "grad_image", "scales", *GEOMETRY])
def image_gradient_kernel(grad_out, grad_image, scales, lines, affine, table, C, D, H, W, NX, SD, SH, SW, field_step, affine_step,
                          off_z, off_y, off_x, ND: tl.constexpr, DENSE: tl.constexpr, AFFINE: tl.constexpr, BIG: tl.constexpr,
                          ORDER: tl.constexpr, PADDING: tl.constexpr, FIXED: tl.constexpr, TY: tl.constexpr, TX: tl.constexpr,
                          LX: tl.constexpr):  # fmt: skip
    """Scatter the gradient of nearest or linear sampling to the image, one tile of one sample."""
    b, z, y, x, live = tile_of(D, H, W, TY, TX, LX)
    iz, iy, ix, fz, fy, fx = cell(lines, affine, table, b, z, y, x, D, H, W, NX, field_step, affine_step, off_z, off_y, off_x, ND,
                                  DENSE, AFFINE, BIG)  # fmt: skip
    scale = tl.load(scales)
    if ORDER == NEAREST:
        iz, iy, ix = iz + (fz >= 0.5), iy + (fy >= 0.5), ix + (fx >= 0.5)
    for c in range(C):
        g = tl.load(of_slice(grad_out, b * C + c, z, y, x, D, H, W, BIG), mask=live, other=0.0)
        target = grad_image + wide(b * C + c) * SD * SH * SW
        for e in tl.static_range(2**ND if ORDER == LINEAR else 1):
            offset, inside = corner(iz, iy, ix, e, SD, SH, SW, ND, PADDING, BIG)
            part = share(fz, fy, fx, e, ND) * g if ORDER == LINEAR else g
            scatter(at(target, offset), part, scale, live & inside if PADDING == CONSTANT else live, FIXED)


@triton.jit(
    do_not_specialize=["image", "grad_out", "grad_lines", "grad_rows", "basis", "fills", "NP", "span", *GEOMETRY]
)
def field_gradient_kernel(image, grad_out, grad_lines, grad_rows, basis, fills, NP, span, lines, affine, table, C, D, H, W, NX, SD,
                          SH, SW, field_step, affine_step, off_z, off_y, off_x, ND: tl.constexpr, DENSE: tl.constexpr,
                          AFFINE: tl.constexpr, BIG: tl.constexpr, PADDING: tl.constexpr, TY: tl.constexpr, TX: tl.constexpr,
                          TN: tl.constexpr):  # fmt: skip
    """Gradient of linear sampling to the field: TY rows of one slice, `span` columns of them, TN of their coefficients.

    Writes ∂L/∂lines `(parts, B, ND, rows, NP)`, or ∂L/∂d `(B, ND, rows, W)` for a dense field, and for the affine part Σ g and Σ g x
    of each row, `(parts, B, ND, rows, 2)`; `parts` are the spans of columns. Each value has one writer: deterministic.
    """
    parts, tiles = tl.cdiv(W, span), tl.cdiv(H, TY)
    part = tl.program_id(0) % parts
    rest = tl.program_id(0) // parts
    slices = rest // tiles
    b, z, batch = slices // D, slices % D, tl.num_programs(0) // (parts * tiles * D)
    y0 = (rest % tiles) * TY
    block = tl.program_id(1)
    column = block * TN + tl.arange(0, TN)
    fill = tl.load(fills)
    acc_z, acc_y, acc_x = tl.zeros((TY, TN), tl.float32), tl.zeros((TY, TN), tl.float32), tl.zeros((TY, TN), tl.float32)
    sum_z, sum_y, sum_x = tl.zeros((TY,), tl.float32), tl.zeros((TY,), tl.float32), tl.zeros((TY,), tl.float32)
    mom_z, mom_y, mom_x = tl.zeros((TY,), tl.float32), tl.zeros((TY,), tl.float32), tl.zeros((TY,), tl.float32)
    for begin in range(part * span, tl.minimum(W, (part + 1) * span), TX):
        y, x, live = places(y0, begin, H, W, TY, TX, 32)
        iz, iy, ix, fz, fy, fx = cell(lines, affine, table, b, z, y, x, D, H, W, NX, field_step, affine_step, off_z, off_y, off_x, ND,
                                      DENSE, AFFINE, BIG)  # fmt: skip
        dz, dy, dx = tl.zeros((TY, TX), tl.float32), tl.zeros((TY, TX), tl.float32), tl.zeros((TY, TX), tl.float32)
        for c in range(C):
            g = tl.load(of_slice(grad_out, b * C + c, z, y, x, D, H, W, BIG), mask=live, other=0.0)
            source = image + wide(b * C + c) * SD * SH * SW
            _, sz, sy, sx = linear(source, iz, iy, ix, fz, fy, fx, SD, SH, SW, fill, ND, PADDING, BIG)
            dy += g * sy
            dx += g * sx
            if ND == 3:
                dz += g * sz
        if DENSE:
            to = of_slice(grad_lines, b * ND, z, y, x, D, H, W, BIG)
            step = wide(D) * H * W
            if ND == 3:
                tl.store(to, dz, mask=live)
            tl.store(to + (ND - 2) * step, dy, mask=live)
            tl.store(to + (ND - 1) * step, dx, mask=live)
        else:
            # Three products in tf32 of high and low parts keep the accuracy of float32.
            weight = tl.load(basis + x[:, None] * NP + column[None, :])  # a column beyond W has a gradient of 0
            acc_y = tl.dot(dy, weight, acc_y, input_precision="tf32x3")
            acc_x = tl.dot(dx, weight, acc_x, input_precision="tf32x3")
            if ND == 3:
                acc_z = tl.dot(dz, weight, acc_z, input_precision="tf32x3")
        if AFFINE:
            place = (x + off_x).to(tl.float32)[None, :]
            sum_y += tl.sum(dy, 1)
            sum_x += tl.sum(dx, 1)
            mom_y += tl.sum(dy * place, 1)
            mom_x += tl.sum(dx * place, 1)
            if ND == 3:
                sum_z += tl.sum(dz, 1)
                mom_z += tl.sum(dz * place, 1)
    plane, row = (wide(part) * batch + b) * ND, y0 + tl.arange(0, TY)
    alive = row < H
    if not DENSE:
        to = (grad_lines + (plane * D * H + z * H) * NP) + (row[:, None] * NP + column[None, :])
        step = wide(D) * H * NP
        if ND == 3:
            tl.store(to, acc_z, mask=alive[:, None])
        tl.store(to + (ND - 2) * step, acc_y, mask=alive[:, None])
        tl.store(to + (ND - 1) * step, acc_x, mask=alive[:, None])
    if AFFINE:
        first = alive & (row * 0 + block == 0)  # what does not depend on the block of coefficients is written once
        to = (grad_rows + (plane * D * H + z * H) * 2) + row * 2
        step = wide(D) * H * 2
        if ND == 3:
            tl.store(to, sum_z, mask=first)
            tl.store(to + 1, mom_z, mask=first)
        tl.store(to + (ND - 2) * step, sum_y, mask=first)
        tl.store(to + (ND - 2) * step + 1, mom_y, mask=first)
        tl.store(to + (ND - 1) * step, sum_x, mask=first)
        tl.store(to + (ND - 1) * step + 1, mom_x, mask=first)
