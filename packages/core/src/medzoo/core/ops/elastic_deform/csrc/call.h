// The plain C interface: one struct of 8-byte fields per call, filled by cpu.py. Axes are (z, y, x); 2-D calls set z to size 1.
#pragma once

#include <cstdint>

extern "C" {

struct Item {                // one tensor (B, C, *S), contiguous
  const void* in;            // input
  void* out;                 // output; in the backward pass the incoming gradient
  void* grad;                // backward: gradient of the input (zero-filled by the caller) or null
  int64_t channels, width;   // width: bytes of an element
  int64_t order, padding;    // elastic::Order, elastic::Padding
  double fill;               // constant padding: the value for linear sampling ...
  int64_t fill_bits;         // ... and its bit pattern in the tensor's own type otherwise
};

struct Call {
  int64_t nd, kind, wide;    // wide: field and linear tensors are double, otherwise float
  int64_t batch, field_step, affine_step;  // steps are 1, or 0 where all samples share one
  int64_t threads, n_items;
  int64_t size[3], offset[3], in_size[3], n_coef[3];
  double scale[3], origin[3];
  const void* field;         // coefficients (B|1, nd, *n) or displacements (B|1, nd, *size)
  const double* affine;      // (B|1, nd, nd + 1) added to the displacement as A [x, 1]; or null
  double* grad_field;        // backward, coefficients: double accumulator, zero-filled; or null
  void* grad_dense;          // backward, displacements (one field a sample): gradient in the field's type; or null
  double* grad_affine;       // backward: double accumulator, zero-filled; or null
  void (*team)(void (*work)(void*), void* data, unsigned threads, unsigned flags);  // OpenMP's GOMP_parallel; or null
};

enum Status { kDone = 0, kNotFinite = 1, kNoMemory = 2 };

int64_t elastic_forward(const Call* call, const Item* items);
int64_t elastic_backward(const Call* call, const Item* items);
}
