// GroupNorm's statistics, per image, over groups of neighbouring channels.
#pragma once

#include <cmath>

#include "simd.h"

namespace petrt::native {
namespace {

// Adds sums and squares of x - x(first pixel), over one row of `Vectors` vectors of channels, to
// float64 totals. The difference keeps the squares small if the mean is large. A row is short
// enough for sums in float32.
template <int Vectors, bool Whole>
inline void add_row(const Tensor& x, Index n, Index y, Index channel, Index last, double* sums,
                    double* squares) {
  const float* origin = at(x, n, 0, 0) + channel;
  const float* row = at(x, n, y, 0) + channel;
  const Index count = last - channel;
  Full zero[Vectors], sum[Vectors] = {}, square[Vectors] = {};
  for (int v = 0; v < Vectors; ++v) zero[v] = load_some<Whole>(origin + v * kLanes, count);
  for (Index i = 0; i < x.width; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      const Full d = load_some<Whole>(row + i * x.pixel + v * kLanes, count) - zero[v];
      sum[v] += d;
      square[v] += d * d;
    }
  }
  for (int v = 0; v < Vectors; ++v) {
    for (Index j = 0; j < smaller(kLanes, count - v * kLanes); ++j) {
      sums[channel + v * kLanes + j] += static_cast<double>(sum[v][j]);
      squares[channel + v * kLanes + j] += static_cast<double>(square[v][j]);
    }
  }
}

// The same for channels `first` to `last`.
inline void add_row(const Tensor& x, Index n, Index y, Index first, Index last, double* sums,
                    double* squares) {
  Index c = first;
  for (; c + 4 * kLanes <= last; c += 4 * kLanes) add_row<4, true>(x, n, y, c, last, sums, squares);
  for (; c + kLanes <= last; c += kLanes) add_row<1, true>(x, n, y, c, last, sums, squares);
  if (c < last) add_row<1, false>(x, n, y, c, last, sums, squares);
}

inline void settle_group(const Statistics& task, Index n, Index group, const double* sums,
                         const double* squares) {
  const Tensor& x = task.x;
  const Index width = x.channels / task.groups, first = group * width;
  const double count = static_cast<double>(x.height * x.width);
  const float* origin = at(x, n, 0, 0);
  double mean = 0.0, spread = 0.0;
  for (Index c = first; c < first + width; ++c) {
    mean += static_cast<double>(origin[c]) + sums[c] / count;
  }
  mean /= static_cast<double>(width);
  for (Index c = first; c < first + width; ++c) {
    const double own = static_cast<double>(origin[c]) + sums[c] / count;
    spread += squares[c] - sums[c] * sums[c] / count + count * (own - mean) * (own - mean);
  }
  const double variance = spread / (count * static_cast<double>(width));
  const double scale = 1.0 / std::sqrt(variance + static_cast<double>(task.epsilon));
  for (Index c = first; c < first + width; ++c) {
    const double weight = scale * static_cast<double>(task.weight[c]);
    task.scale[n * x.channels + c] = static_cast<float>(weight);
    task.shift[n * x.channels + c] =
        static_cast<float>(static_cast<double>(task.bias[c]) - mean * weight);
  }
}

inline Index statistics_scratch(const Statistics& task) {
  return 4 * task.x.channels;
}

inline void statistics(const Statistics& task, Part part, float* scratch) {
  const Index first = part.first(task.groups), last = part.last(task.groups);
  const Index width = task.x.channels / task.groups;
  double* const sums = reinterpret_cast<double*>(scratch);
  double* const squares = sums + task.x.channels;
  for (Index n = 0; n < task.x.images; ++n) {
    std::memset(sums, 0, static_cast<std::size_t>(2 * task.x.channels) * sizeof(double));
    for (Index y = 0; y < task.x.height; ++y) {
      add_row(task.x, n, y, first * width, last * width, sums, squares);
    }
    for (Index g = first; g < last; ++g) settle_group(task, n, g, sums, squares);
  }
}

}  // namespace
}  // namespace petrt::native
