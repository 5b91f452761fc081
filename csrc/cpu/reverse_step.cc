#include "petrt/check.h"
#include "petrt/ops.h"
#include "petrt/parallel.h"

namespace petrt {

void reverse_step(View<float, 1> r, View<const float, 1> eps, View<float, 1> x0_previous,
                  View<const float, 1> noise, const StepCoefs& coefs, float clip, int threads) {
  check_threads(threads);
  check_shape("eps", eps, r.shape);
  check_shape("x0_previous", x0_previous, r.shape);
  const bool noisy = coefs.s != 0.0f;
  if (noisy) check_shape("noise", noise, r.shape);
  parallel_for(r.shape[0], 1 << 14, threads, [=](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const float x0 = predict_x0(coefs, clip, r.data[i], eps.data[i]);
      const float z = noisy ? noise.data[i] : 0.0f;
      r.data[i] = next_r(coefs, r.data[i], x0, x0_previous.data[i], z);
      x0_previous.data[i] = x0;
    }
  });
}

}  // namespace petrt
