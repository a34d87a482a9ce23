// The mathematics of the operator: cubic B-spline weights, knot spans, the split of a displacement, and padding.
// Sections and names follow docs/elastic_deform.md; spline.py holds the same formulas in torch.
#pragma once

#include <cstdint>

namespace elastic {

constexpr float kLimit = 268435456.0f;  // 2^28: sums of clamped displacements, offsets and sizes stay within int32

enum Order { kNearest = 0, kLinear = 1, kLabel = 2 };
enum Padding { kBorder = 0, kConstant = 1, kReflection = 2 };
enum Kind { kDense = 0 };  // "interpolate" and "coefficients" differ only in scale and origin, which the caller computes

inline int imin(int a, int b) { return a < b ? a : b; }
inline int imax(int a, int b) { return a > b ? a : b; }

// NaN fails both comparisons and becomes -limit: an index is always defined.
template <class T> inline T clamp_displacement(T d) {
  d = d > T(-kLimit) ? d : T(-kLimit);
  return d < T(kLimit) ? d : T(kLimit);
}

// Weights of coefficients k..k+3 at t in [0, 1] of span k; they sum to 1.
template <class T> inline void weights(double t, T w[4]) {
  const double s = 1 - t;
  w[0] = T(s * s * s / 6);
  w[1] = T((3 * t * t * t - 6 * t * t + 4) / 6);
  w[2] = T((3 * s * s * s - 6 * s * s + 4) / 6);
  w[3] = T(t * t * t / 6);
}

// Adjoint of the polynomials of a row (rows.h): from moments S_m = Σ v t^m of a span to the sums of its four taps.
inline void taps_from_moments(const double s[4], double tap[4]) {
  tap[0] = (s[0] - 3 * s[1] + 3 * s[2] - s[3]) / 6;
  tap[1] = (4 * s[0] - 6 * s[2] + 3 * s[3]) / 6;
  tap[2] = (s[0] + 3 * s[1] + 3 * s[2] - 3 * s[3]) / 6;
  tap[3] = s[3] / 6;
}

// u = scale x + origin; the span is clamped so that taps k..k+3 exist and borders need no case of their own.
inline int span_of(double u, int n_coef) {
  if (!(u > 0)) return 0;
  if (u >= n_coef - 4) return n_coef - 4;
  return int(u);
}

// Floor by truncation: compiles to plain vector instructions on every instruction set.
template <class T> inline int32_t floor_int(T d) {
  const int32_t i = int32_t(d);
  return i - (d < T(i));
}

// Index of a neighbour under border (clamped) or reflection (mirrored about the centres of the end voxels) padding.
inline int fold(int i, int n, int padding) {
  if (unsigned(i) < unsigned(n)) return i;
  if (padding == kReflection && n > 1) {
    const int64_t period = 2 * (int64_t(n) - 1);
    int64_t m = int64_t(i) % period;
    if (m < 0) m += period;
    return int(m < n ? m : period - m);
  }
  return i < 0 ? 0 : n - 1;
}

}  // namespace elastic
