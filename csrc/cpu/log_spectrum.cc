#include "petrt/check.h"
#include "petrt/ops.h"
#include "petrt/parallel.h"

namespace petrt {

void log_spectrum(View<const Complex, 4> half, View<float, 4> out, int threads) {
  const Index height = out.shape[2], width = out.shape[3];
  check_threads(threads);
  check(height >= 1 && width >= 1, "out: expected slices of at least 1 x 1, got ", height, " x ",
        width);
  check_shape("out", out, {out.shape[0], 1, height, width});
  check_shape("half", half, {out.shape[0], 1, height, width / 2 + 1});
  parallel_for(out.shape[0], 1, threads, [=](Index begin, Index end) {
    for (Index slice = begin; slice < end; ++slice) {
      const Index size = height * (width / 2 + 1);
      const SliceSpectrum spectrum{half.data + slice * size, out.data + slice * height * width,
                                   height, width};
      Range powers;
      for (Index i = 0; i < size; ++i) powers.add(spectrum.power(i));
      for (Index i = 0; i < size; ++i) spectrum.write(i, powers);
    }
  });
}

}  // namespace petrt
