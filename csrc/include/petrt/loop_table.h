// The arguments of a reverse loop on any device, and their checks.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "petrt/check.h"
#include "petrt/noise.h"
#include "petrt/step.h"
#include "petrt/view.h"

namespace petrt {

struct LoopShape {
  Index slices, samples, height, width;

  Index voxels() const { return height * width; }
  Index images() const { return slices * samples; }
};

inline LoopShape checked(const LoopShape& shape) {
  check(std::min({shape.slices, shape.samples, shape.height, shape.width}) >= 1,
        "slices, samples, height, width: expected each at least 1, got ", shape.slices, ", ",
        shape.samples, ", ", shape.height, ", ", shape.width);
  return shape;
}

inline bool finite(const StepCoefs& k) {
  for (const float value : {k.x0_r, k.x0_eps, k.a, k.b, k.c, k.s}) {
    if (!std::isfinite(value)) return false;
  }
  return true;
}

inline void check_table(const std::vector<StepCoefs>& steps, float clip,
                        View<const float, 2> film /* [steps, C] */) {
  check(!steps.empty(), "coefs: expected at least 1 step, got 0");
  check(clip > 0.0f, "clip: expected a positive bound, got ", clip);
  check_shape("film", film, {static_cast<Index>(steps.size()), std::max<Index>(1, film.shape[1])});
  check(std::all_of(steps.begin(), steps.end(), finite), "coefs: expected finite float32 values");
  check(std::all_of(film.data, film.data + film.size(),
                    [](float value) { return std::isfinite(value); }),
        "film: expected finite values");
  check(steps.front().c == 0.0f, "coefs: step 1 has no previous x0, expected c = 0, got ",
        steps.front().c);
}

inline void check_sigma(float sigma_r) {
  check(sigma_r > 0.0f && std::isfinite(sigma_r), "sigma_r: expected a positive number, got ",
        sigma_r);
}

inline SliceWeights checked_weights(double sigma_z) {
  check(sigma_z >= 0.0 && sigma_z <= kMostSigmaZ, "sigma_z: expected 0 to ", kMostSigmaZ,
        " slices, got ", sigma_z);
  return slice_weights(sigma_z);
}

// The ids of `slices` slices, whose noise reaches to other slices, too.
inline void check_ids(const std::vector<std::uint32_t>& ids, Index slices,
                      const SliceWeights& weights) {
  check(static_cast<Index>(ids.size()) == slices, "slice_ids: expected ", slices, " ids, got ",
        ids.size());
  const Index reach = weights.reach, last = (Index{1} << 32) - 1 - reach;
  for (const Index id : ids) {
    check(id >= reach && id <= last, "slice_ids: expected ids from ", reach, " to ", last, ", got ",
          id);
  }
}

// Sample numbers are words of the noise counter.
inline void check_samples(Index first_sample, Index count) {
  const Index last = first_sample + count - 1;
  check(last < Index{1} << 32, "first_sample: expected sample numbers below 2^32, got ", last);
}

}  // namespace petrt
