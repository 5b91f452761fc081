#include <algorithm>

#include "petrt/check.h"
#include "petrt/neighbours.h"
#include "petrt/ops.h"
#include "petrt/parallel.h"

namespace petrt {

void stack_slices(View<const float, 3> volume, Index first, View<float, 4> out, int threads) {
  const Index depth = volume.shape[0], batch = out.shape[0];
  const Index pixels = volume.shape[1] * volume.shape[2];
  check_threads(threads);
  check_shape("out", out, {batch, kNeighbours, volume.shape[1], volume.shape[2]});
  check(first >= 0 && first <= depth - batch, "first: expected ", batch, " slices within the ",
        depth, " of volume, got first = ", first);
  parallel_for(batch * kNeighbours, 8, threads, [=](Index begin, Index end) {
    for (Index plane = begin; plane < end; ++plane) {
      const Index centre = first + plane / kNeighbours;
      const Index source = neighbour(centre, plane % kNeighbours, depth);
      std::copy_n(volume.data + source * pixels, pixels, out.data + plane * pixels);
    }
  });
}

}  // namespace petrt
