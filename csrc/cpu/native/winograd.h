// Winograd's minimal filtering F(4x4, 3x3), with the points 0, 1, -1, 2, -2 and infinity.
// Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4:
// Y = A^T [(G g G^T) (.) (B^T d B)] A, for tiles d of 6 x 6 inputs, g of 3 x 3 weights.
#pragma once

#include "gemm.h"

namespace petrt::native {
namespace {

// B^T d for one column of six.
inline void input_points(const Full d[6], Full v[6]) {
  const Full a = d[4] - 4.0f * d[2], b = d[3] - 4.0f * d[1];
  const Full c = d[4] - d[2], e = d[3] - d[1];
  v[0] = d[4] - 5.0f * d[2] + 4.0f * d[0];
  v[1] = a + b;
  v[2] = a - b;
  v[3] = c + 2.0f * e;
  v[4] = c - 2.0f * e;
  v[5] = d[5] - 5.0f * d[3] + 4.0f * d[1];
}

// Whether v of this point is 0 after nearest-neighbour upsampling: there d[1] = d[2] and
// d[3] = d[4], so v of the point -1 is 0, in rows and in columns.
inline bool vanishes_enlarged(Index point) {
  return point / 6 == 2 || point % 6 == 2;
}

// A^T m for one column of six.
inline void output_points(const Full m[6], Full y[4]) {
  const Full a = m[1] + m[2], b = m[1] - m[2];
  const Full c = m[3] + m[4], d = m[3] - m[4];
  y[0] = m[0] + a + c;
  y[1] = b + 2.0f * d;
  y[2] = a + 4.0f * c;
  y[3] = b + 8.0f * d + m[5];
}

typedef double Doubles __attribute__((vector_size(kColumns * 8)));
typedef float Floats __attribute__((vector_size(kColumns * 4), aligned(4), may_alias));

// G g for one column of three.
inline void weight_points(const Doubles g[3], Doubles u[6]) {
  u[0] = g[0] / 4.0;
  u[1] = -(g[0] + g[1] + g[2]) / 6.0;
  u[2] = -(g[0] - g[1] + g[2]) / 6.0;
  u[3] = (g[0] + 2.0 * g[1] + 4.0 * g[2]) / 24.0;
  u[4] = (g[0] - 2.0 * g[1] + 4.0 * g[2]) / 24.0;
  u[5] = g[2];
}

// Writes the 36 numbers of kColumns kernels to u + point * plane; in float64, rounded once.
inline void transform_weights(const Doubles g[9], float* u, Index plane) {
  Doubles half[6][3], points[6];
  for (int x = 0; x < 3; ++x) {
    const Doubles column[3] = {g[x], g[3 + x], g[6 + x]};
    weight_points(column, points);
    for (int y = 0; y < 6; ++y) half[y][x] = points[y];
  }
  for (int y = 0; y < 6; ++y) {
    weight_points(half[y], points);
    for (int x = 0; x < 6; ++x) {
      *reinterpret_cast<Floats*>(u + (6 * y + x) * plane) =
          __builtin_convertvector(points[x], Floats);
    }
  }
}

// Transforms one tile of `count` channels (kLanes if Whole). rows[0..5] point at its first pixel.
// The numbers of point p are written to v + p * plane.
template <bool Whole>
inline void transform_input(float* const rows[6], Index offset, Index pixel, Index count, float* v,
                            Index plane) {
  Full half[6][6];  // B^T d
  for (int x = 0; x < 6; ++x) {
    Full column[6], points[6];
    for (int y = 0; y < 6; ++y) column[y] = load_some<Whole>(rows[y] + offset + x * pixel, count);
    input_points(column, points);
    for (int y = 0; y < 6; ++y) half[y][x] = points[y];
  }
  for (int y = 0; y < 6; ++y) {
    Full points[6];
    input_points(half[y], points);
    for (int x = 0; x < 6; ++x) store_some<Whole>(v + (6 * y + x) * plane, points[x], count);
  }
}

// The 4 x 4 outputs of one tile of kLanes channels.
inline void transform_output(const float* m, Index plane, Full y[kTile][kTile]) {
  Full half[kTile][6];
  for (int x = 0; x < 6; ++x) {
    Full column[6], points[kTile];
    for (int p = 0; p < 6; ++p) column[p] = load(m + (6 * p + x) * plane);
    output_points(column, points);
    for (int i = 0; i < kTile; ++i) half[i][x] = points[i];
  }
  for (int i = 0; i < kTile; ++i) output_points(half[i], y[i]);
}

}  // namespace
}  // namespace petrt::native
