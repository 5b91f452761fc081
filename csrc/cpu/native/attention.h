// Single-head self-attention, computed for one block of queries at a time.
#pragma once

#include "gemm.h"

namespace petrt::native {
namespace {

inline constexpr Index kQueries = 48;

// Softmax in place of each row of scores [rows, positions]; rows are `stride` apart.
inline void softmax(float* scores, Index rows, Index positions, Index stride, float scale) {
  for (Index r = 0; r < rows; ++r) {
    float* const row = scores + r * stride;
    float top = row[0] * scale;
    for (Index i = 0; i < positions; ++i) {
      row[i] *= scale;
      top = row[i] > top ? row[i] : top;
    }
    Full sum = {};
    for (Index i = 0; i < positions; i += kLanes) {
      const Index count = smaller(kLanes, positions - i);
      store_some(row + i, exponential(load_some(row + i, count) - top), count);
      sum += load_some(row + i, count);
    }
    float total = 0.0f;
    for (Index j = 0; j < kLanes; ++j) total += sum[j];
    for (Index i = 0; i < positions; ++i) row[i] /= total;
  }
}

struct AttentionPlan {
  Index width, positions, key_columns, value_columns, keys, values, scores;

  explicit AttentionPlan(const Attention& task)
      : width(task.y.channels),
        positions(task.y.height * task.y.width),
        key_columns(rounded_up(positions, kColumns)),
        value_columns(rounded_up(width, kColumns)),
        keys(width * key_columns),
        values(positions * value_columns),
        scores(kQueries * key_columns) {}
};

inline Index attention_scratch(const Attention& task) {
  const AttentionPlan plan(task);
  return plan.keys + plan.values + plan.scores + kQueries * plan.value_columns;
}

// Every part packs all keys and values itself, which is little work compared with the products.
inline void attention(const Attention& task, Part part, float* scratch) {
  const AttentionPlan plan(task);
  const Index width = plan.width, positions = plan.positions, pixel = task.qkv.pixel;
  float* const keys = scratch;
  float* const values = keys + plan.keys;
  float* const scores = values + plan.values;
  float* const mixed = scores + plan.scores;
  for (Index n = 0; n < task.y.images; ++n) {
    const float* qkv = at(task.qkv, n, 0, 0);
    pack_panels(qkv + width, width, positions, 1, pixel, keys);
    pack_panels(qkv + 2 * width, positions, width, pixel, 1, values);
    const Index last = part.last(positions);
    for (Index first = part.first(positions); first < last; first += kQueries) {
      const Index count = smaller(kQueries, last - first);
      product(count, plan.key_columns, width, qkv + first * pixel, pixel, keys, scores,
              plan.key_columns);
      softmax(scores, count, positions, plan.key_columns, task.scale);
      product(count, plan.value_columns, positions, scores, plan.key_columns, values, mixed,
              plan.value_columns);
      for (Index i = 0; i < count; ++i) {
        const Index y = (first + i) / task.y.width, x = (first + i) % task.y.width;
        std::memcpy(at(task.y, n, y, x), mixed + i * plan.value_columns,
                    static_cast<std::size_t>(width) * sizeof(float));
      }
    }
  }
}

}  // namespace
}  // namespace petrt::native
