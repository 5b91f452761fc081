// Matrix products with one factor packed in panels, the inner loop of all convolutions.
#pragma once

#include "simd.h"

namespace petrt::native {
namespace {

inline constexpr Index kColumns = 2 * kLanes;  // in a panel
inline constexpr int kRows = PETRT_ROWS;       // in a register block

// c [Rows, kColumns] = a [Rows, depth] times one panel [depth, kColumns]. Each element is summed in
// the order of depth, so a row does not depend on other rows. It also prefetches depth * step
// floats from `ahead` on. It is not inlined: together with other code the compiler runs out of
// registers and the loop takes 1.5 times as long.
template <int Rows>
__attribute__((noinline)) void block(Index depth, const float* a, Index lda, const float* panel,
                                     float* c, Index ldc, const float* ahead, Index step) {
  Full sum[Rows][2] = {};
  for (Index k = 0; k < depth; ++k) {
    __builtin_prefetch(ahead);
    ahead += step;
    const Full b0 = load(panel), b1 = load(panel + kLanes);
    panel += kColumns;
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const Full each = splat(a[i * lda + k]);
      sum[i][0] += each * b0;
      sum[i][1] += each * b1;
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
    store(c + i * ldc, sum[i][0]);
    store(c + i * ldc + kLanes, sum[i][1]);
  }
}

template <int Rows>
inline void last_rows(Index rows, Index depth, const float* a, Index lda, const float* panel,
                      float* c, Index ldc, const float* ahead, Index step) {
  if constexpr (Rows > 0) {
    if (rows == Rows) {
      block<Rows>(depth, a, lda, panel, c, ldc, ahead, step);
    } else {
      last_rows<Rows - 1>(rows, depth, a, lda, panel, c, ldc, ahead, step);
    }
  }
}

// c [rows, columns] = a [rows, depth] b, with b packed in panels and columns a multiple of
// kColumns. During one panel's product the next panel is prefetched. With `next`, the rows after a
// are multiplied next and are prefetched first: the CPU's own prefetcher misses rows read in
// parallel.
inline void product(Index rows, Index columns, Index depth, const float* a, Index lda,
                    const float* b, float* c, Index ldc, bool next = false) {
  const Index blocks = (rows + kRows - 1) / kRows, part = (kColumns + blocks - 1) / blocks;
  for (Index first = 0; first < columns; first += kColumns) {
    const float* const panel = b + first * depth;
    const bool fetch_rows = next && first == 0;
    const float* ahead = fetch_rows ? a + rows * lda : panel + kColumns * depth;
    const Index step = fetch_rows ? kRows * lda / depth : part;
    Index row = 0;
    for (; row + kRows <= rows; row += kRows, ahead += depth * step) {
      block<kRows>(depth, a + row * lda, lda, panel, c + row * ldc + first, ldc, ahead, step);
    }
    last_rows<kRows - 1>(rows - row, depth, a + row * lda, lda, panel, c + row * ldc + first, ldc,
                         ahead, step);
  }
}

// Packs b [depth, columns] into panels [columns / kColumns, depth, kColumns], padded with zeros.
inline void pack_panels(const float* b, Index depth, Index columns, Index row_stride,
                        Index column_stride, float* packed) {
  for (Index first = 0; first < columns; first += kColumns) {
    for (Index k = 0; k < depth; ++k) {
      for (Index j = 0; j < kColumns; ++j) {
        const Index column = first + j;
        *packed++ = column < columns ? b[k * row_stride + column * column_stride] : 0.0f;
      }
    }
  }
}

}  // namespace
}  // namespace petrt::native
