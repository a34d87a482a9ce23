// From coefficients to rows: the displacement of one output row as integer index and fraction per axis, and the adjoint.
#pragma once

#include <cmath>
#include <cstdlib>
#include <cstring>

#include "call.h"
#include "lanes.h"

namespace elastic {

// Rows of a chunk: a block that stays in cache, of a fixed size, so that results never depend on the number of threads.
constexpr int kTileZ = 16;
inline int tile_y(int nd) { return nd == 3 ? 8 : 16; }

struct Arena {  // memory of one call or one thread: one allocation, zeroed, no exceptions
  uintptr_t base = 0, used = 0;
  template <class T> void take(T*& p, size_t n) {
    p = reinterpret_cast<T*>(base + used);
    used += (n * sizeof(T) + 63) / 64 * 64;
  }
  // Run `layout`, a series of `take`, twice: once for the size, once for the addresses.
  template <class Layout> bool reserve(const Layout& layout) {
    layout();
    base = reinterpret_cast<uintptr_t>(std::calloc(used + 64, 1));
    used = 0;
    if (base) layout();
    return base != 0;
  }
  ~Arena() { std::free(reinterpret_cast<void*>(base)); }
};

struct Span {
  int begin, end, k;   // voxels [begin, end) of a row use coefficients k..k+3
};

// What all rows of a call share: span and weights of every z and y, spans and parameter t of every x.
template <class T> struct Plan {
  const Call& call;
  int nd, first;                 // axes first..2 are in use
  int size[3], in[3], off[3], n[3];
  int* k[3] = {};
  T* w[3] = {};                  // 4 weights per position, axes z and y
  T* t = nullptr;
  Span* spans = nullptr;
  int n_spans = 0;
  Arena arena;

  explicit Plan(const Call& c) : call(c), nd(int(c.nd)), first(3 - int(c.nd)) {
    for (int j = 0; j < 3; ++j) {
      size[j] = int(c.size[j]), in[j] = int(c.in_size[j]), off[j] = int(c.offset[j]), n[j] = int(c.n_coef[j]);
    }
  }

  bool build() {
    if (call.kind == kDense) return true;
    const auto layout = [this] {
      for (int j = first; j < 3; ++j) {
        arena.take(k[j], size[j] + kLanes);
        if (j < 2) arena.take(w[j], 4 * size_t(size[j]));
      }
      arena.take(t, size[2] + kLanes), arena.take(spans, size[2]);
    };
    if (!arena.reserve(layout)) return false;
    for (int j = first; j < 3; ++j) {
      for (int x = 0; x < size[j]; ++x) {
        const double u = call.scale[j] * (double(x) + off[j]) + call.origin[j];
        k[j][x] = span_of(u, n[j]);
        if (j < 2) weights(u - k[j][x], w[j] + 4 * size_t(x));
        else t[x] = T(u - k[j][x]);
      }
    }
    for (int i = 0; i < kLanes; ++i) t[size[2] + i] = 0, k[2][size[2] + i] = k[2][size[2] - 1];
    for (int x = 0; x < size[2]; ++x) {
      if (x == 0 || k[2][x] != k[2][x - 1]) spans[n_spans++] = {x, x, k[2][x]};
      spans[n_spans - 1].end = x + 1;
    }
    return true;
  }

  const T* coefficients(int b) const {
    size_t volume = nd;
    for (int j = first; j < 3; ++j) volume *= n[j];
    return static_cast<const T*>(call.field) + size_t(b) * call.field_step * volume;
  }
  const double* affine(int b) const {
    return call.affine ? call.affine + size_t(b) * call.affine_step * nd * (nd + 1) : nullptr;
  }
};

struct Chunk {
  int b, z0, z1, y0, y1;
};

// The coefficient rows that a chunk needs: a window of the grid in z and y, whole in x.
struct Window {
  int kz, nz, ky, ny, nx;
  size_t plane(int nd) const { return size_t(nd) * ny * nx; }
  size_t volume(int nd) const { return plane(nd) * nz; }
};

template <class T> Window window_of(const Plan<T>& p, const Chunk& c) {
  Window w{0, 1, 0, 1, p.n[2]};
  if (p.nd == 3) w.kz = p.k[0][c.z0], w.nz = p.k[0][c.z1 - 1] + 4 - w.kz;
  w.ky = p.k[1][c.y0], w.ny = p.k[1][c.y1 - 1] + 4 - w.ky;
  return w;
}

// Scratch of one thread and the evaluation of rows. `index[a][x]`, `part[a][x]` are the results for axis a of the input.
template <class T> struct Rows {
  const Plan<T>& p;
  T *plane = nullptr, *taps = nullptr, *poly[4] = {}, *part[3] = {}, *grad[3] = {};
  double *grad_plane = nullptr, *grad_taps = nullptr;
  int *index[3] = {}, *base = nullptr;  // base: integer part of each span
  Window win{};
  Arena arena;

  explicit Rows(const Plan<T>& plan) : p(plan) {}

  bool build(bool backward) {
    const size_t row = size_t(p.size[2]) + kLanes, nd = p.nd;
    const bool dense = p.call.kind == kDense;
    const size_t nx = dense ? 0 : p.n[2], ny = dense ? 0 : imin(p.n[1], int(tile_y(p.nd) * p.call.scale[1]) + 6);
    return arena.reserve([&] {
      for (int a = 0; a < 3; ++a) {
        arena.take(index[a], row), arena.take(part[a], row);
        if (backward) arena.take(grad[a], row);
      }
      arena.take(plane, nd * nx * ny + kLanes), arena.take(taps, nx + 2 * kLanes), arena.take(base, nx + kLanes);
      for (T*& q : poly) arena.take(q, nx + kLanes);
      if (backward) arena.take(grad_plane, nd * nx * ny), arena.take(grad_taps, nd * nx);
    });
  }

  // Reduce z: plane[a][ky][kx] = Σ_4 w_z c[a][kz..kz+3][ky][kx] for the rows of the window.
  void begin_slice(const Chunk& c, int z) {
    const size_t stripe = size_t(p.n[1]) * p.n[2], rows = size_t(win.ny) * win.nx;
    const T* coef = p.coefficients(c.b) + size_t(win.ky) * win.nx;
    for (int a = 0; a < p.nd; ++a) {
      T* to = plane + a * rows;
      if (p.nd == 2) {
        std::memcpy(to, coef + a * stripe, rows * sizeof(T));
        continue;
      }
      const T* from = coef + (size_t(a) * p.n[0] + p.k[0][z]) * stripe;
      const T* w = p.w[0] + 4 * size_t(z);
      for (size_t i = 0; i < rows; ++i)
        to[i] = w[0] * from[i] + w[1] * from[i + stripe] + w[2] * from[i + 2 * stripe] + w[3] * from[i + 3 * stripe];
    }
  }

  // Reduce y, then write index and fraction of every voxel of row (z, y) by Horner's rule, span by span.
  void evaluate(const Chunk& c, int z, int y) {
    if (p.call.kind == kDense) return read_dense(c, z, y);
    const T* w = p.w[1] + 4 * size_t(y);
    const int nx = win.nx, fresh = p.k[1][y] - win.ky;
    const int at[3] = {z, y, 0};
    const double* m = p.affine(c.b);
    for (int a = 0; a < p.nd; ++a) {
      const int axis = p.first + a;
      const T* from = plane + (size_t(a) * win.ny + fresh) * nx;
      for (int i = 0; i < nx; i += kLanes)  // whole blocks: what they read and write beyond nx is padding
        store(taps + i, w[0] * load(from + i) + w[1] * load(from + i + nx) + w[2] * load(from + i + 2 * nx) +
                            w[3] * load(from + i + 3 * nx));
      polynomials(nx - 3);
      for (int k = 0; k < nx - 3; ++k) base[k] = at[axis] + p.off[axis];
      for (int s = 0; m && s < p.n_spans; ++s) add_affine(m + a * (p.nd + 1), p.spans[s], z, y);
      const int step = axis == 2;
      if (!write_row(step, index[axis], part[axis]))
        for (int s = 0; s < p.n_spans; ++s) write_span(p.spans[s], step, index[axis], part[axis]);
    }
  }

  // Every span of a row as p0 + p1 t + p2 t² + p3 t³.
  void polynomials(int n) {
    for (int k = 0; k < n; k += kLanes) {
      const Lanes<T> c0 = load(taps + k), c1 = load(taps + k + 1), c2 = load(taps + k + 2), c3 = load(taps + k + 3);
      store(poly[0] + k, (c0 + 4 * c1 + c2) * T(1.0 / 6));
      store(poly[1] + k, (c2 - c0) * T(0.5));
      store(poly[2] + k, (c0 - 2 * c1 + c2) * T(0.5));
      store(poly[3] + k, (c3 - c0 + 3 * (c1 - c2)) * T(1.0 / 6));
    }
  }

  // The affine part is linear in t on a span: it costs nothing per voxel, and its integer part is kept out of the rounding.
  void add_affine(const double* m, const Span& span, int z, int y) {
    const int nd = p.nd;
    const double scale = p.call.scale[2];
    const double start = scale > 0 ? (span.k - p.call.origin[2]) / scale : p.off[2];  // x of the frame at t = 0
    double v = m[nd] + m[nd - 1] * start + m[nd - 2] * (double(y) + p.off[1]);
    if (nd == 3) v += m[0] * (double(z) + p.off[0]);
    v = clamp_displacement(v);
    const double whole = std::floor(v);
    poly[0][span.k] += T(v - whole);
    if (scale > 0) poly[1][span.k] += T(m[nd - 1] / scale);
    base[span.k] += int(whole);
  }

  // d to integer and fraction: `whole` starts as the integer part known so far (position, affine).
  static void split(Lanes<T> d, const Lanes<int32_t>& whole, int* to, T* rest) {
    Lanes<T> f;
    store(to, whole + floor_lanes(d, f));
    store(rest, d - f);
  }

  // Whole blocks of lanes: what runs over the end of a span is overwritten by the next one (or lies in the padding of the row).
  void write_span(const Span& span, int step, int* to, T* rest) const {
    const T p0 = poly[0][span.k], p1 = poly[1][span.k], p2 = poly[2][span.k], p3 = poly[3][span.k];
    Lanes<int32_t> column;
    for (int j = 0; j < kLanes; ++j) column[j] = base[span.k] + step * (span.begin + j);
    for (int x = span.begin; x < span.end; x += kLanes, column += step * kLanes) {
      const Lanes<T> u = load(p.t + x);
      split(p0 + u * (p1 + u * (p2 + u * p3)), column, to + x, rest + x);
    }
  }

  // The same block by block of the row: lanes pick their span's polynomial by a register permute, so spans of any length cost alike.
  bool write_row(int step, int* to, T* rest) const {
#if defined(__AVX2__)
    if (sizeof(T) != 4 || p.call.scale[2] > 1) return false;  // lanes of a block must lie within kLanes spans
    Lanes<int32_t> column = load(kCount) * step;
    const T *p0 = poly[0], *p1 = poly[1], *p2 = poly[2], *p3 = poly[3], *t = p.t;
    const int *k = p.k[2], *b = base, W = p.size[2];
    for (int x = 0; x < W; x += kLanes, column += step * kLanes) {
      const int first = k[x];
      const Lanes<int32_t> which = load(k + x) - first;
      const Lanes<T> u = load(t + x);
      const Lanes<T> d = pick(p0 + first, which) +
                         u * (pick(p1 + first, which) + u * (pick(p2 + first, which) + u * pick(p3 + first, which)));
      split(d, column + pick(b + first, which), to + x, rest + x);
    }
    return true;
#else
    (void)step, (void)to, (void)rest;
    return false;
#endif
  }

  void read_dense(const Chunk& c, int z, int y) {
    const int W = p.size[2];
    const size_t volume = size_t(p.size[0]) * p.size[1] * W, row = (size_t(z) * p.size[1] + y) * W;
    const T* d = static_cast<const T*>(p.call.field) + size_t(c.b) * p.call.field_step * p.nd * volume + row;
    const int at[3] = {z + p.off[0], y + p.off[1], p.off[2]};
    for (int a = 0; a < p.nd; ++a) {
      const int axis = p.first + a, step = axis == 2;
      for (int x = 0; x < W; ++x) {
        const T v = clamp_displacement(d[a * volume + x]);
        const int whole = floor_int(v);
        index[axis][x] = whole + at[axis] + step * x;
        part[axis][x] = v - T(whole);
      }
    }
  }

  // Adjoint of `evaluate`: moments of grad[a][x] per span, then taps, then the plane; also the sums of the affine gradient.
  void collect(int z, int y, double* affine) {
    const int nx = win.nx, nd = p.nd;
    std::memset(grad_taps, 0, sizeof(double) * nd * nx);
    for (int a = 0; a < nd; ++a) {
      for (int s = 0; s < p.n_spans; ++s) {
        const Span& span = p.spans[s];
        double m[4], tap[4];
        moments(grad[p.first + a], span, m);
        taps_from_moments(m, tap);
        for (int i = 0; i < 4; ++i) grad_taps[a * nx + span.k + i] += tap[i];
        if (affine) {
          const double scale = p.call.scale[2];
          double* r = affine + a * (nd + 1);
          r[nd] += m[0];
          r[nd - 1] += scale > 0 ? (m[1] + (span.k - p.call.origin[2]) * m[0]) / scale : m[0] * p.off[2];
          r[nd - 2] += m[0] * (double(y) + p.off[1]);
          if (nd == 3) r[0] += m[0] * (double(z) + p.off[0]);
        }
      }
    }
    const T* w = p.w[1] + 4 * size_t(y);
    for (int a = 0; a < nd; ++a)
      for (int j = 0; j < 4; ++j) {
        double* to = grad_plane + (size_t(a) * win.ny + p.k[1][y] - win.ky + j) * nx;
        for (int i = 0; i < nx; ++i) to[i] += w[j] * grad_taps[a * nx + i];
      }
  }

  // S_m = Σ g t^m. Lanes hold partial sums of at most 256 voxels, added pairwise and then in double: a fixed order.
  void moments(const T* g, const Span& span, double m[4]) const {
    m[0] = m[1] = m[2] = m[3] = 0;
    for (int from = span.begin; from < span.end; from += 256) {
      const int to = imin(from + 256, span.end);
      Lanes<T> sum[4] = {};
      for (int x = from; x < to; x += kLanes) {
        const Lanes<T> u = load(p.t + x);
        Lanes<T> v = load(g + x);
        if (to - x < kLanes) keep_first(v, to - x);
        sum[0] += v, v *= u, sum[1] += v, v *= u, sum[2] += v, sum[3] += v * u;
      }
      for (int i = 0; i < 4; ++i) {
        T part[kLanes];
        std::memcpy(part, &sum[i], sizeof(part));
        for (int width = kLanes / 2; width; width /= 2)
          for (int j = 0; j < width; ++j) part[j] += part[j + width];
        m[i] += part[0];
      }
    }
  }

  // Adjoint of `begin_slice`: the window of the chunk gains w_z times the plane.
  void end_slice(int z, double* window) {
    const size_t rows = size_t(win.ny) * win.nx;
    for (int a = 0; a < p.nd; ++a)
      for (int j = 0; j < (p.nd == 3 ? 4 : 1); ++j) {
        const double w = p.nd == 3 ? double(p.w[0][4 * size_t(z) + j]) : 1.0;
        const int layer = p.nd == 3 ? p.k[0][z] - win.kz + j : 0;
        double* to = window + (size_t(a) * win.nz + layer) * rows;
        for (size_t i = 0; i < rows; ++i) to[i] += w * grad_plane[a * rows + i];
      }
  }
};

}  // namespace elastic
