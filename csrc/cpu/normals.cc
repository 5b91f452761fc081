#include <algorithm>

#include "petrt/check.h"
#include "petrt/noise.h"
#include "petrt/ops.h"
#include "petrt/parallel.h"

namespace petrt {

// Both samples of a pair come from one draw.
void normals(std::uint64_t seed, View<const std::uint32_t, 1> slices, std::uint32_t first_sample,
             std::uint32_t step, const SliceWeights& weights, View<float, 3> out, int threads) {
  const Index samples = out.shape[1], voxels = out.shape[2];
  const Index blocks = (voxels + 3) / 4, odd = first_sample & 1u, pairs = (odd + samples + 1) / 2;
  check_threads(threads);
  check_shape("out", out, {slices.shape[0], samples, voxels});
  const Index least = 1024 / (2 * weights.reach + 1);
  parallel_for(slices.shape[0] * pairs * blocks, least, threads, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const Index slice = i / (pairs * blocks), pair = i / blocks % pairs, block = i % blocks;
      const Index sample = 2 * pair - odd, size = std::min<Index>(4, voxels - 4 * block);
      const NoiseKey key{seed, slices.data[slice],
                         static_cast<std::uint32_t>(first_sample + sample), step};
      const Normals four = coherent4(key, weights, static_cast<std::uint32_t>(block));
      const Index at = (slice * samples + sample) * voxels + 4 * block;
      if (sample >= 0) std::copy_n(four.z, size, out.data + at);
      if (sample + 1 >= samples) continue;
      std::transform(four.z, four.z + size, out.data + at + voxels, [](float z) { return -z; });
    }
  });
}

}  // namespace petrt
