#include "petrt/check.h"
#include "petrt/ops.h"
#include "petrt/parallel.h"

namespace petrt {

void accumulate(View<const float, 1> image, View<float, 1> mean, View<float, 1> m2, Index count,
                int threads) {
  check_threads(threads);
  check_shape("mean", mean, image.shape);
  check_shape("m2", m2, image.shape);
  check(count >= 0, "count: expected the number of samples already in, got ", count);
  const float n = static_cast<float>(count + 1);
  parallel_for(image.shape[0], 1 << 14, threads, [=](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) add_sample(image.data[i], n, mean.data[i], m2.data[i]);
  });
}

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
