#include "petrt/check.h"
#include "petrt/ops.h"
#include "petrt/parallel.h"

namespace petrt {

void finish(View<const float, 1> m2, Index count, View<float, 1> std, int threads) {
  check_threads(threads);
  check_shape("std", std, m2.shape);
  check(count >= 1, "count: expected at least 1 sample, got ", count);
  const float n = static_cast<float>(count);
  parallel_for(m2.shape[0], 1 << 14, threads, [=](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) std.data[i] = deviation(m2.data[i], n);
  });
}

}  // namespace petrt
