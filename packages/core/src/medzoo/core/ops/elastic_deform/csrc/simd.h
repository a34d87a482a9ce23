// Linear sampling of float rows with vector instructions; whatever does not fit takes the scalar code of sample.h.
//
// AVX-512, 3-D ("window"): neighbouring output voxels read neighbouring input voxels, so 16 of them usually lie within 32 columns of a
// few rows. Two plain loads and two register permutes per row then replace 16 gathers; lanes take part in the rows of their cell.
// AVX2 and wide cells ("pairs"): one 8-byte load fetches both x neighbours of a row.
#pragma once

#include "sample.h"

namespace elastic {

template <class T, int ND>
void linear_row_fast(const Rows<T>& r, const T* v, T* out, const Shape& s, int padding, T fill) {
  linear_row<T, ND>(r, v, out, s, 0, r.p.size[2], padding, fill);
}

template <class T, int ND>
inline void backward_row_fast(Rows<T>& r, const T* v, const T* g, T* grad_v, bool into_d, const Shape& s, int order, int padding,
                              T fill) {
  backward_row<T, ND>(r, v, g, grad_v, into_d, s, 0, r.p.size[2], order, padding, fill);
}

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

#if defined(__AVX512F__)  // with BW, DQ and VL: see build.py

constexpr int kWindowRows = 8, kWindowLines = 24;  // more rows (y) or lines (z, y) than this for 16 voxels: pairs are faster

// Smallest and largest of 16 values relative to the first, for z and y at once: bytes (z, y, -z, -y), one minimum for all four.
struct Extent {
  int z0, z1, y0, y1;
  Extent(__m512i z, __m512i y, int zf, int yf) {
    const __m512i bound = _mm512_set1_epi32(60), low = _mm512_set1_epi32(-60);
    z = _mm512_max_epi32(_mm512_min_epi32(_mm512_sub_epi32(z, _mm512_set1_epi32(zf)), bound), low);
    y = _mm512_max_epi32(_mm512_min_epi32(_mm512_sub_epi32(y, _mm512_set1_epi32(yf)), bound), low);
    const __m512i both = _mm512_add_epi32(z, _mm512_slli_epi32(y, 8));
    const __m512i key =
        _mm512_add_epi32(_mm512_set1_epi32(0x40404040), _mm512_sub_epi32(both, _mm512_slli_epi32(both, 16)));
    const __m256i half = _mm256_min_epu8(_mm512_castsi512_si256(key), _mm512_extracti64x4_epi64(key, 1));
    __m128i m = _mm_min_epu8(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    m = _mm_min_epu8(m, _mm_shuffle_epi32(m, 0x4E));
    m = _mm_min_epu8(m, _mm_shuffle_epi32(m, 0xB1));
    const uint32_t k = uint32_t(_mm_cvtsi128_si32(m));
    z0 = zf + int(k & 255) - 64, y0 = yf + int(k >> 8 & 255) - 64;
    z1 = zf + 64 - int(k >> 16 & 255), y1 = yf + 64 - int(k >> 24);
  }
};

// Share of row `r` in a cell: 1 - f where it is the lower one, f where it is the upper one; `part` are the lanes it belongs to.
struct Share {
  __m512 w;
  __mmask16 part;
  Share(__m512i i, __m512 f, int r) {
    const __mmask16 lower = _mm512_cmpeq_epi32_mask(i, _mm512_set1_epi32(r));
    const __mmask16 upper = _mm512_cmpeq_epi32_mask(i, _mm512_set1_epi32(r - 1));
    w = _mm512_mask_sub_ps(f, lower, _mm512_set1_ps(1), f);
    part = lower | upper;
  }
};

inline bool window16(const float* v, float* out, const Shape& s, const __m512i i[3], const __m512 f[3], int x_first,
                     int z_first, int y_first) {
  if (s.n[2] < 32) return false;
  const int start = imax(0, imin(x_first - 3, s.n[2] - 32));
  const __m512i low = _mm512_sub_epi32(i[2], _mm512_set1_epi32(start)), high = _mm512_add_epi32(low, _mm512_set1_epi32(1));
  if (_mm512_cmpgt_epu32_mask(low, _mm512_set1_epi32(30))) return false;
  const Extent e(i[0], i[1], z_first, y_first);
  const int rows = e.y1 - e.y0 + 2;
  if (rows > kWindowRows || rows * (e.z1 - e.z0 + 2) > kWindowLines) return false;
  __m512 wy[kWindowRows];
  __mmask16 my[kWindowRows];
  for (int y = 0; y < rows; ++y) {
    const Share share(i[1], f[1], e.y0 + y);
    wy[y] = share.w, my[y] = share.part;
  }
  __m512 sum = _mm512_setzero_ps();
  for (int z = e.z0; z <= e.z1 + 1; ++z) {
    const Share sz(i[0], f[0], z);
    const float* row = v + (int64_t(z) * s.n[1] + e.y0) * s.n[2] + start;
    __m512 line = _mm512_setzero_ps();
    for (int y = 0; y < rows; ++y, row += s.n[2]) {
      const __m512 a = _mm512_loadu_ps(row), b = _mm512_loadu_ps(row + 16);
      const __m512 p = _mm512_permutex2var_ps(a, low, b), q = _mm512_permutex2var_ps(a, high, b);
      const __m512 value = _mm512_fmadd_ps(f[2], q, _mm512_fnmadd_ps(f[2], p, p));
      line = _mm512_mask3_fmadd_ps(wy[y], value, line, my[y]);
    }
    sum = _mm512_mask3_fmadd_ps(sz.w, line, sum, sz.part);
  }
  _mm512_storeu_ps(out, sum);
  return true;
}

// As many blocks of 16 from the start of the row as fit.
inline int blocks16(const Rows<float>& r, const float* v, float* out, const Shape& s, int padding, float fill) {
  int x = 0;
  for (; x + 16 <= r.p.size[2]; x += 16) {
    __m512i i[3];
    __m512 f[3];
    __mmask16 outside = 0;
    for (int a = 0; a < 3; ++a) {
      i[a] = _mm512_loadu_si512(r.index[a] + x);
      f[a] = _mm512_loadu_ps(r.part[a] + x);
      outside |= _mm512_cmpge_epu32_mask(i[a], _mm512_set1_epi32(s.n[a] - 1));
    }
    if (!outside && window16(v, out + x, s, i, f, r.index[2][x], r.index[0][x], r.index[1][x])) continue;
    linear8<3>(r, v, out, s, x, padding, fill);
    linear8<3>(r, v, out, s, x + 8, padding, fill);
  }
  return x;
}

#endif

#if defined(__AVX2__)

template <int ND>
inline void linear_row_wide(const Rows<float>& r, const float* v, float* out, const Shape& s, int padding, float fill) {
  const int W = r.p.size[2];
  int x = 0;
  if (s.volume() < (int64_t(1) << 31)) {  // cells8 computes offsets in 32 bits
#if defined(__AVX512F__)
    if (ND == 3) x = blocks16(r, v, out, s, padding, fill);
#endif
    for (; x + 8 <= W; x += 8) linear8<ND>(r, v, out, s, x, padding, fill);
  }
  linear_row<float, ND>(r, v, out, s, x, W, padding, fill);
}

template <>
inline void linear_row_fast<float, 2>(const Rows<float>& r, const float* v, float* out, const Shape& s, int padding, float fill) {
  linear_row_wide<2>(r, v, out, s, padding, fill);
}
template <>
inline void linear_row_fast<float, 3>(const Rows<float>& r, const float* v, float* out, const Shape& s, int padding, float fill) {
  linear_row_wide<3>(r, v, out, s, padding, fill);
}

template <int ND>
inline void backward_row_wide(Rows<float>& r, const float* v, const float* g, float* grad_v, bool into_d, const Shape& s, int order,
                              int padding, float fill) {
  const int W = r.p.size[2];
  int x = 0;
  if (order == kLinear && s.volume() < (int64_t(1) << 31))
    for (; x + 8 <= W; x += 8)
      if (!backward8<ND>(r, v, g, grad_v, into_d, s, x))
        backward_row<float, ND>(r, v, g, grad_v, into_d, s, x, x + 8, order, padding, fill);
  backward_row<float, ND>(r, v, g, grad_v, into_d, s, x, W, order, padding, fill);
}

template <>
inline void backward_row_fast<float, 2>(Rows<float>& r, const float* v, const float* g, float* grad_v, bool into_d,
                                        const Shape& s, int order, int padding, float fill) {
  backward_row_wide<2>(r, v, g, grad_v, into_d, s, order, padding, fill);
}
template <>
inline void backward_row_fast<float, 3>(Rows<float>& r, const float* v, const float* g, float* grad_v, bool into_d,
                                        const Shape& s, int order, int padding, float fill) {
  backward_row_wide<3>(r, v, g, grad_v, into_d, s, order, padding, fill);
}

#endif

}  // namespace elastic
