// Blocks of lanes: one register of floats of the instruction set, used through plain operators.
#pragma once

#include <cstring>

#include "spline.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace elastic {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
// Rows are evaluated in blocks of kLanes voxels (one register of floats) and padded by as many.
// One block as a generic vector: plain operators, compiled to the registers of the instruction set.
template <class T> struct LanesOf {
  typedef T type __attribute__((vector_size(kLanes * sizeof(T))));
};
template <class T> using Lanes = typename LanesOf<T>::type;

template <class T> inline Lanes<T> load(const T* p) {
  Lanes<T> v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
template <class T> inline void store(T* p, const Lanes<T>& v) { std::memcpy(p, &v, sizeof(v)); }

#if defined(__AVX2__)
alignas(64) constexpr int32_t kCount[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// from[which[j]] for kLanes consecutive values: one load and one permute.
template <class V> inline Lanes<V> pick(const V* from, const Lanes<int32_t>& which) {
  static_assert(sizeof(V) == 4 || sizeof(V) == 8, "floats and int32; double is never asked for");
  Lanes<V> out;
#if defined(__AVX512F__)
  const __m512i v = _mm512_permutexvar_epi32((__m512i)which, _mm512_loadu_si512(from));
#else
  const __m256i v = _mm256_permutevar8x32_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)), (__m256i)which);
#endif
  std::memcpy(&out, &v, sizeof(v));
  return out;
}
#endif

// Clamp (NaN becomes -limit, as in clamp_displacement) and floor, as integers and as the type itself.
template <class V> inline Lanes<int32_t> floor_lanes(V& d, V& whole) {
  const V limit = V{} + kLimit;
  d = d > -limit ? d : -limit;
  d = d < limit ? d : limit;
  Lanes<int32_t> i = __builtin_convertvector(d, Lanes<int32_t>);
  i += __builtin_convertvector(d < __builtin_convertvector(i, V), Lanes<int32_t>);  // true is -1
  whole = __builtin_convertvector(i, V);
  return i;
}
#if defined(__AVX512F__)
template <> inline Lanes<int32_t> floor_lanes(Lanes<float>& d, Lanes<float>& whole) {
  d = (Lanes<float>)_mm512_min_ps(_mm512_max_ps((__m512)d, _mm512_set1_ps(-kLimit)), _mm512_set1_ps(kLimit));
  whole = (Lanes<float>)_mm512_roundscale_ps((__m512)d, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  return (Lanes<int32_t>)_mm512_cvttps_epi32((__m512)whole);
}
#elif defined(__AVX2__)
template <> inline Lanes<int32_t> floor_lanes(Lanes<float>& d, Lanes<float>& whole) {
  d = (Lanes<float>)_mm256_min_ps(_mm256_max_ps((__m256)d, _mm256_set1_ps(-kLimit)), _mm256_set1_ps(kLimit));
  whole = (Lanes<float>)_mm256_floor_ps((__m256)d);
  return (Lanes<int32_t>)_mm256_cvttps_epi32((__m256)whole);
}
#endif

// Zero all lanes from n on (by mask: what is dropped may be NaN).
inline void keep_first(Lanes<float>& v, int n) {
  static constexpr int32_t kMask[2 * 16] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
  Lanes<int32_t> mask;
  std::memcpy(&mask, kMask + 16 - n, sizeof(mask));
  v = (Lanes<float>)((Lanes<int32_t>)v & mask);
}
inline void keep_first(Lanes<double>& v, int n) {
  for (int j = n; j < kLanes; ++j) v[j] = 0;
}

}  // namespace elastic
