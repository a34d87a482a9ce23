// Sampling of one row given index and fraction per axis, and its adjoint; scalar code for every order, padding and type.
#pragma once

#include "rows.h"

namespace elastic {

// One image (D, H, W) of one sample and channel; 2-D images have D = 1 and their z index is never read.
struct Shape {
  int n[3];
  int64_t at(int z, int y, int x) const { return (int64_t(z) * n[1] + y) * n[2] + x; }
  int64_t volume() const { return int64_t(n[0]) * n[1] * n[2]; }
};

// Ask for what the next slice (3-D) or a row a little ahead (2-D) will read, a cache line every 16 voxels: displaced rows follow no
// straight line, so the processor does not foresee them. Addresses may lie outside the image, which a prefetch forgives.
template <class T, int ND> inline void ask_ahead(const Rows<T>& r, const void* v, size_t width, const Shape& s) {
  for (int x = 0; x < r.p.size[2]; x += 16) {
    const int64_t line = (ND == 3 ? (int64_t(r.index[0][x]) + 2) * s.n[1] : 4) + r.index[1][x];
    const uint64_t at = uint64_t(line) * uint64_t(s.n[2]) + uint64_t(int64_t(r.index[2][x]));
    __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(v) + uintptr_t(at * width)));
  }
}

template <class T, int ND> struct Point {  // the cell of voxel x: lower corner i and fraction f
  int i[3];
  T f[3];
  Point(const Rows<T>& r, int x) {
    for (int a = 3 - ND; a < 3; ++a) i[a] = r.index[a][x], f[a] = r.part[a][x];
  }
  bool inside(const Shape& s) const {  // all corners exist
    bool ok = true;
    for (int a = 3 - ND; a < 3; ++a) ok &= i[a] >= 0 && i[a] < s.n[a] - 1;
    return ok;
  }
};

// Offset of corner e (bit a: upper neighbour along axis a) or -1 where constant padding applies.
template <class T, int ND> inline int64_t corner(const Point<T, ND>& p, const Shape& s, int e, int padding) {
  int64_t offset = 0;
  for (int a = 3 - ND; a < 3; ++a) {
    int j = p.i[a] + (e >> a & 1);
    if (unsigned(j) >= unsigned(s.n[a])) {
      if (padding == kConstant) return -1;
      j = fold(j, s.n[a], padding);
    }
    offset = offset * s.n[a] + j;
  }
  return offset;
}

template <class T, int ND> inline T share(const Point<T, ND>& p, int e) {  // w_e(f)
  T w = 1;
  for (int a = 3 - ND; a < 3; ++a) w *= e >> a & 1 ? p.f[a] : 1 - p.f[a];
  return w;
}

template <int ND> inline int corner_bits(int c) { return ND == 3 ? c : c << 1; }  // c-th corner as bits of the axes in use

template <class T> inline T lerp(T a, T b, T f) { return (a - f * a) + f * b; }  // exact at f = 0 and f = 1

template <class T, int ND> inline T linear_inside(const T* v, const Point<T, ND>& p, const Shape& s) {
  const int64_t row = s.n[2], slice = row * s.n[1];
  const T* q = v + (ND == 3 ? p.i[0] * slice : 0) + p.i[1] * row + p.i[2];
  const T low = lerp(lerp(q[0], q[1], p.f[2]), lerp(q[row], q[row + 1], p.f[2]), p.f[1]);
  if (ND == 2) return low;
  q += slice;
  return lerp(low, lerp(lerp(q[0], q[1], p.f[2]), lerp(q[row], q[row + 1], p.f[2]), p.f[1]), p.f[0]);
}

template <class T, int ND> inline T linear_any(const T* v, const Point<T, ND>& p, const Shape& s, int padding, T fill) {
  T sum = 0;
  for (int c = 0; c < 1 << ND; ++c) {
    const int e = corner_bits<ND>(c);
    const int64_t o = corner(p, s, e, padding);
    sum += share(p, e) * (o < 0 ? fill : v[o]);
  }
  return sum;
}

template <class T, int ND>
void linear_row(const Rows<T>& r, const T* v, T* out, const Shape& s, int x0, int x1, int padding, T fill) {
  for (int x = x0; x < x1; ++x) {
    const Point<T, ND> p(r, x);
    out[x] = p.inside(s) ? linear_inside(v, p, s) : linear_any(v, p, s, padding, fill);
  }
}

template <class T, int ND> inline int nearest_corner(const Point<T, ND>& p) {  // ties: floor(d + 1/2)
  int e = 0;
  for (int a = 3 - ND; a < 3; ++a) e |= (p.f[a] >= T(0.5)) << a;
  return e;
}

template <class U, class T, int ND>
void nearest_row(const Rows<T>& r, const U* v, U* out, const Shape& s, int padding, U fill) {
  for (int x = 0; x < r.p.size[2]; ++x) {
    const Point<T, ND> p(r, x);
    const int64_t o = corner(p, s, nearest_corner(p), padding);
    out[x] = o < 0 ? fill : v[o];
  }
}

// The label with the largest summed weight of the corners that carry it; the nearest corner wins ties. Equals
// one-hot -> linear -> argmax at a cost that does not depend on the number of labels.
template <class U, class T, int ND>
void label_row(const Rows<T>& r, const U* v, U* out, const Shape& s, int padding, U fill) {
  constexpr int kCorners = 1 << ND;
  for (int x = 0; x < r.p.size[2]; ++x) {
    const Point<T, ND> p(r, x);
    U label[kCorners];
    bool same = true;
    for (int c = 0; c < kCorners; ++c) {
      const int64_t o = corner(p, s, corner_bits<ND>(c), padding);
      label[c] = o < 0 ? fill : v[o];
      same &= label[c] == label[0];
    }
    if (same) {
      out[x] = label[0];
      continue;
    }
    T weight[kCorners], score[kCorners];
    for (int c = 0; c < kCorners; ++c) weight[c] = share(p, corner_bits<ND>(c));
    for (int c = 0; c < kCorners; ++c) {
      score[c] = 0;
      for (int d = 0; d < kCorners; ++d) score[c] += label[d] == label[c] ? weight[d] : T(0);
    }
    int best = nearest_corner(p) >> (3 - ND);
    for (int c = 0; c < kCorners; ++c) best = score[c] > score[best] ? c : best;
    out[x] = label[best];
  }
}

// Adjoint of linear and nearest sampling for one channel: scatter into `grad_v` (or null) and add ∂L/∂d to r.grad (if `into_d`).
template <class T, int ND>
void backward_row(Rows<T>& r, const T* v, const T* g, T* grad_v, bool into_d, const Shape& s, int x0, int x1, int order,
                  int padding, T fill) {
  for (int x = x0; x < x1; ++x) {
    const Point<T, ND> p(r, x);
    if (order == kNearest) {
      const int64_t o = corner(p, s, nearest_corner(p), padding);
      if (grad_v && o >= 0) grad_v[o] += g[x];
      continue;
    }
    int64_t o[1 << ND];
    if (p.inside(s)) {
      const int64_t row = s.n[2], slice = row * s.n[1];
      const int64_t low = (ND == 3 ? p.i[0] * slice : 0) + p.i[1] * row + p.i[2];
      // corner_bits order: bit 0 is z in 3-D; x is the highest bit
      for (int c = 0; c < 1 << ND; ++c) {
        const int e = corner_bits<ND>(c);
        o[c] = low + (e & 1) * slice + (e >> 1 & 1) * row + (e >> 2 & 1);
      }
    } else {
      for (int c = 0; c < 1 << ND; ++c) o[c] = corner(p, s, corner_bits<ND>(c), padding);
    }
    if (grad_v) {
      for (int c = 0; c < 1 << ND; ++c)
        if (o[c] >= 0) grad_v[o[c]] += share(p, corner_bits<ND>(c)) * g[x];
    }
    if (into_d) {
      T value[8];
      for (int c = 0; c < 1 << ND; ++c) value[ND == 3 ? c : c << 1] = o[c] < 0 ? fill : v[o[c]];
      // ∂/∂d_a = Σ_e (2 e_a - 1) Π_{j≠a} w_{e_j} I[i + e]: lerp the axes one after the other.
      if (ND == 3) {
        T dz[4], z[4];  // after z: index y + 2 x
        for (int c = 0; c < 4; ++c) dz[c] = value[2 * c + 1] - value[2 * c], z[c] = value[2 * c] + p.f[0] * dz[c];
        const T y0 = lerp(z[0], z[1], p.f[1]), y1 = lerp(z[2], z[3], p.f[1]);
        r.grad[0][x] += g[x] * lerp(lerp(dz[0], dz[1], p.f[1]), lerp(dz[2], dz[3], p.f[1]), p.f[2]);
        r.grad[1][x] += g[x] * lerp(z[1] - z[0], z[3] - z[2], p.f[2]);
        r.grad[2][x] += g[x] * (y1 - y0);
      } else {
        const T y0 = lerp(value[0], value[2], p.f[1]), y1 = lerp(value[4], value[6], p.f[1]);
        r.grad[1][x] += g[x] * lerp(value[2] - value[0], value[6] - value[4], p.f[2]);
        r.grad[2][x] += g[x] * (y1 - y0);
      }
    }
  }
}

}  // namespace elastic
