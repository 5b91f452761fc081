#include <algorithm>

#include "petrt/check.h"
#include "petrt/noise.h"
#include "petrt/ops.h"
#include "petrt/parallel.h"

namespace petrt {

void normals(std::uint64_t seed, View<const std::uint32_t, 1> slices, std::uint32_t first_sample,
             std::uint32_t step, View<float, 3> out, int threads) {
  const Index samples = out.shape[1], voxels = out.shape[2];
  const Index blocks = (voxels + 3) / 4;
  check_threads(threads);
  check_shape("out", out, {slices.shape[0], samples, voxels});
  parallel_for(slices.shape[0] * samples * blocks, 1024, threads, [=](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const Index image = i / blocks, block = i % blocks;
      const NoiseKey key{seed, slices.data[image / samples],
                         first_sample + static_cast<std::uint32_t>(image % samples), step};
      const Normals four = normals4(key, static_cast<std::uint32_t>(block));
      std::copy_n(four.z, std::min<Index>(4, voxels - 4 * block),
                  out.data + image * voxels + 4 * block);
    }
  });
}

}  // namespace petrt
