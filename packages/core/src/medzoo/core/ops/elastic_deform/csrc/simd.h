// Linear sampling of float rows with AVX2: one 8-byte load fetches both x neighbours of a row. (Gathers, and permutes of whole AVX-512
// rows, were slower on the processors at hand.) Whatever does not fit takes the scalar code of sample.h.
#pragma once

#include <type_traits>

#include "sample.h"

namespace elastic {

#if defined(__AVX2__)

inline __m256 lerp8(__m256 a, __m256 b, __m256 f) { return _mm256_fmadd_ps(f, b, _mm256_fnmadd_ps(f, a, a)); }

// Eight pairs a = v[o], b = v[o + 1].
inline void pairs8(const float* v, const int32_t* o, __m256& a, __m256& b) {
  __m128 h[4];
  for (int k = 0; k < 4; ++k) {
    h[k] = _mm_castpd_ps(_mm_load_sd(reinterpret_cast<const double*>(v + o[2 * k])));
    h[k] = _mm_loadh_pi(h[k], reinterpret_cast<const __m64*>(v + o[2 * k + 1]));
  }
  const __m256 even = _mm256_insertf128_ps(_mm256_castps128_ps256(h[0]), h[2], 1);
  const __m256 odd = _mm256_insertf128_ps(_mm256_castps128_ps256(h[1]), h[3], 1);
  a = _mm256_shuffle_ps(even, odd, 0x88), b = _mm256_shuffle_ps(even, odd, 0xDD);
}

inline __m256 line8(const float* v, const int32_t* o, __m256 fx) {
  __m256 a, b;
  pairs8(v, o, a, b);
  return lerp8(a, b, fx);
}

inline void add8(float* to, __m256 g, __m256 d) { _mm256_storeu_ps(to, _mm256_fmadd_ps(g, d, _mm256_loadu_ps(to))); }

template <int ND> inline void offsets8(const __m256i i[3], const Shape& s, int32_t o[8]) {
  __m256i line = i[1];
  if (ND == 3) line = _mm256_add_epi32(line, _mm256_mullo_epi32(i[0], _mm256_set1_epi32(s.n[1])));
  const __m256i at = _mm256_add_epi32(i[2], _mm256_mullo_epi32(line, _mm256_set1_epi32(s.n[2])));
  _mm256_store_si256(reinterpret_cast<__m256i*>(o), at);
}

template <int ND> inline __m256 cells8(const float* v, const __m256i i[3], const __m256 f[3], const Shape& s) {
  alignas(32) int32_t o[8];
  offsets8<ND>(i, s, o);
  const __m256 low = lerp8(line8(v, o, f[2]), line8(v + s.n[2], o, f[2]), f[1]);
  if (ND == 2) return low;
  v += int64_t(s.n[1]) * s.n[2];
  return lerp8(low, lerp8(line8(v, o, f[2]), line8(v + s.n[2], o, f[2]), f[1]), f[0]);
}

// Border padding as a move of the cell: i < 0 becomes (0, 0), i > N - 2 becomes (N - 2, 1). True where all cells exist then.
template <int ND> inline bool settle8(__m256i i[3], __m256 f[3], const Shape& s, int padding) {
  __m256i outside = _mm256_setzero_si256();
  for (int a = 3 - ND; a < 3; ++a) {
    const __m256i last = _mm256_set1_epi32(s.n[a] - 2);
    outside = _mm256_or_si256(outside, _mm256_or_si256(i[a], _mm256_cmpgt_epi32(i[a], last)));  // sign bit: i < 0 or i > N - 2
  }
  if (_mm256_movemask_ps(_mm256_castsi256_ps(outside)) == 0) return true;
  if (padding != kBorder) return false;
  for (int a = 3 - ND; a < 3; ++a) {
    if (s.n[a] < 2) return false;
    const __m256i last = _mm256_set1_epi32(s.n[a] - 2);
    const __m256 above = _mm256_castsi256_ps(_mm256_cmpgt_epi32(i[a], last));
    f[a] = _mm256_blendv_ps(f[a], _mm256_set1_ps(1), above);
    f[a] = _mm256_blendv_ps(f[a], _mm256_setzero_ps(), _mm256_castsi256_ps(i[a]));
    i[a] = _mm256_max_epi32(_mm256_min_epi32(i[a], last), _mm256_setzero_si256());
  }
  return true;
}

template <int ND>
inline void linear8(const Rows<float>& r, const float* v, float* out, const Shape& s, int x, int padding, float fill) {
  __m256i i[3];
  __m256 f[3];
  for (int a = 3 - ND; a < 3; ++a) {
    i[a] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(r.index[a] + x));
    f[a] = _mm256_loadu_ps(r.part[a] + x);
  }
  if (settle8<ND>(i, f, s, padding)) _mm256_storeu_ps(out + x, cells8<ND>(v, i, f, s));
  else linear_row<float, ND>(r, v, out, s, x, x + 8, padding, fill);
}

// Adjoint of linear sampling for eight voxels whose cells exist: ∂L/∂d from the pairs, then the scatter corner by corner, so that
// neighbouring voxels, which share corners, do not wait for each other's stores.
template <int ND>
inline bool backward8(Rows<float>& r, const float* v, const float* gradient, float* grad_v, bool into_d, const Shape& s, int x) {
  __m256i i[3];
  __m256 f[3];
  for (int a = 3 - ND; a < 3; ++a) {
    i[a] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(r.index[a] + x));
    f[a] = _mm256_loadu_ps(r.part[a] + x);
  }
  if (!settle8<ND>(i, f, s, kConstant)) return false;
  alignas(32) int32_t o[8];
  offsets8<ND>(i, s, o);
  const __m256 g = _mm256_loadu_ps(gradient + x), one = _mm256_set1_ps(1);
  const int64_t step[4] = {0, s.n[2], int64_t(s.n[1]) * s.n[2], int64_t(s.n[1] + 1) * s.n[2]};  // lines (z, y) of the cell
  if (into_d) {
    __m256 value[4], slope[4];  // of each line: value at f_x, difference along x
    for (int k = 0; k < 1 << (ND - 1); ++k) {
      __m256 a, b;
      pairs8(v + step[k], o, a, b);
      value[k] = lerp8(a, b, f[2]), slope[k] = _mm256_sub_ps(b, a);
    }
    __m256 dy = _mm256_sub_ps(value[1], value[0]), dx = lerp8(slope[0], slope[1], f[1]);
    if (ND == 3) {
      const __m256 dz = _mm256_sub_ps(lerp8(value[2], value[3], f[1]), lerp8(value[0], value[1], f[1]));
      add8(r.grad[0] + x, g, dz);
      dy = lerp8(dy, _mm256_sub_ps(value[3], value[2]), f[0]);
      dx = lerp8(dx, lerp8(slope[2], slope[3], f[1]), f[0]);
    }
    add8(r.grad[1] + x, g, dy);
    add8(r.grad[2] + x, g, dx);
  }
  for (int k = 0; grad_v && k < 1 << (ND - 1); ++k) {
    __m256 w = _mm256_mul_ps(g, k & 1 ? f[1] : _mm256_sub_ps(one, f[1]));
    if (ND == 3) w = _mm256_mul_ps(w, k & 2 ? f[0] : _mm256_sub_ps(one, f[0]));
    alignas(32) float lower[8], upper[8];
    _mm256_store_ps(upper, _mm256_mul_ps(w, f[2]));
    _mm256_store_ps(lower, _mm256_mul_ps(w, _mm256_sub_ps(one, f[2])));
    float* to = grad_v + step[k];
    for (int j = 0; j < 8; ++j) to[o[j]] += lower[j];
    for (int j = 0; j < 8; ++j) to[o[j] + 1] += upper[j];
  }
  return true;
}

#endif

// Offsets within an image are computed in 32 bits.
inline bool small(const Shape& s) { return s.volume() < (int64_t(1) << 31); }

template <class T, int ND>
void linear_row_fast(const Rows<T>& r, const T* v, T* out, const Shape& s, int padding, T fill) {
  int x = 0;
#if defined(__AVX2__)
  if constexpr (std::is_same<T, float>::value)
    for (; small(s) && x + 8 <= r.p.size[2]; x += 8) linear8<ND>(r, v, out, s, x, padding, fill);
#endif
  linear_row<T, ND>(r, v, out, s, x, r.p.size[2], padding, fill);
}

template <class T, int ND>
void backward_row_fast(Rows<T>& r, const T* v, const T* g, T* grad_v, bool into_d, const Shape& s, int order, int padding, T fill) {
  int x = 0;
#if defined(__AVX2__)
  if constexpr (std::is_same<T, float>::value)
    for (; order == kLinear && small(s) && x + 8 <= r.p.size[2]; x += 8)
      if (!backward8<ND>(r, v, g, grad_v, into_d, s, x))
        backward_row<T, ND>(r, v, g, grad_v, into_d, s, x, x + 8, order, padding, fill);
#endif
  backward_row<T, ND>(r, v, g, grad_v, into_d, s, x, r.p.size[2], order, padding, fill);
}

}  // namespace elastic
