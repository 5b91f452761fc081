// GroupNorm's statistics, per image, over groups of neighbouring channels.
#pragma once

#include <cmath>

#include "simd.h"

namespace petrt::native {
namespace {

// Adds sums and squares of x - x(first pixel) over one row to float64 totals [2, channels]. The
// difference keeps the squares small where the mean is large; a row is short enough for float32.
inline void add_row(const Tensor& x, Index n, Index y, double* sums, double* squares) {
  const float* origin = at(x, n, 0, 0);
  const float* row = at(x, n, y, 0);
  for (Index c = 0; c < x.channels; c += kLanes) {
    const Index count = smaller(kLanes, x.channels - c);
    const Full zero = load_some(origin + c, count);
    Full sum = {}, square = {};
    for (Index i = 0; i < x.width; ++i) {
      const Full d = load_some(row + i * x.pixel + c, count) - zero;
      sum += d;
      square += d * d;
    }
    for (Index j = 0; j < count; ++j) {
      sums[c + j] += static_cast<double>(sum[j]);
      squares[c + j] += static_cast<double>(square[j]);
    }
  }
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

inline void statistics(const Statistics& task, float* scratch) {
  double* const sums = reinterpret_cast<double*>(scratch);
  double* const squares = sums + task.x.channels;
  for (Index n = 0; n < task.x.images; ++n) {
    std::memset(sums, 0, static_cast<std::size_t>(2 * task.x.channels) * sizeof(double));
    for (Index y = 0; y < task.x.height; ++y) add_row(task.x, n, y, sums, squares);
    for (Index g = 0; g < task.groups; ++g) settle_group(task, n, g, sums, squares);
  }
}

}  // namespace
}  // namespace petrt::native
