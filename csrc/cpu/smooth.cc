#include <algorithm>
#include <vector>

#include "petrt/check.h"
#include "petrt/ops.h"
#include "petrt/parallel.h"

namespace petrt {
namespace {

// Lines filtered together: enough for vector instructions, few enough for the first-level cache.
constexpr Index kLanes = 16;

// Some lines along n of a volume [outer, n, inner], as float64, with their edges continued.
class Lines {
 public:
  Lines(View<const float, 3> in, Index radius)
      : in_(in), radius_(radius), wide_(static_cast<std::size_t>((n() + 2 * radius) * kLanes)) {}

  Index n() const { return in_.shape[1]; }

  // Reads lines first .. first + count - 1 of the outer x inner ones; further lanes repeat the
  // first.
  void load(Index first, Index count) {
    for (Index lane = 0; lane < kLanes; ++lane) {
      start_[lane] = start(first + (lane < count ? lane : 0));
    }
    const bool together = start_[kLanes - 1] - start_[0] == kLanes - 1;  // adjacent in memory
    for (Index j = -radius_; j < n() + radius_; ++j) {
      const float* from = in_.data + std::clamp<Index>(j, 0, n() - 1) * in_.shape[2];
      double* to = at(j);
      if (together) {
        for (Index lane = 0; lane < kLanes; ++lane) to[lane] = from[start_[0] + lane];
      } else {
        for (Index lane = 0; lane < kLanes; ++lane) to[lane] = from[start_[lane]];
      }
    }
  }

  // Sums from the outermost pair of voxels inwards, as scipy.ndimage.correlate1d does.
  void filter(const double* weights, float* out, Index count) {
    for (Index j = 0; j < n(); ++j) {
      double sum[kLanes];
      const double* centre = at(j);
      for (Index lane = 0; lane < kLanes; ++lane) sum[lane] = centre[lane] * weights[0];
      for (Index k = radius_; k > 0; --k) {
        const double *left = at(j - k), *right = at(j + k);
        for (Index lane = 0; lane < kLanes; ++lane) {
          sum[lane] += (left[lane] + right[lane]) * weights[k];
        }
      }
      for (Index lane = 0; lane < count; ++lane) {
        out[start_[lane] + j * in_.shape[2]] = static_cast<float>(sum[lane]);
      }
    }
  }

 private:
  Index start(Index line) const {
    const Index inner = in_.shape[2];
    return line / inner * n() * inner + line % inner;
  }
  double* at(Index j) { return wide_.data() + (j + radius_) * kLanes; }

  View<const float, 3> in_;
  Index radius_;
  std::vector<double> wide_;
  Index start_[kLanes]{};
};

}  // namespace

void smooth_axis(View<const float, 3> in, View<const double, 1> weights, View<float, 3> out,
                 int threads) {
  check_threads(threads);
  check_shape("out", out, in.shape);
  check(weights.shape[0] >= 1, "weights: expected at least the centre's, got none");
  check(in.shape[1] >= 1, "volume: expected at least one voxel along the axis, got none");
  const Index lines = in.shape[0] * in.shape[2], groups = (lines + kLanes - 1) / kLanes;
  const Index parts = std::min<Index>(threads, std::max<Index>(1, groups / 8));
  std::vector<Lines> scratch;  // allocated here, because a thread's body must not throw
  for (Index part = 0; part < parts; ++part) scratch.emplace_back(in, weights.shape[0] - 1);
  parallel_for(parts, 1, threads, [&](Index begin, Index end) {
    for (Index part = begin; part < end; ++part) {
      Lines& some = scratch[static_cast<std::size_t>(part)];
      for (Index group = groups * part / parts; group < groups * (part + 1) / parts; ++group) {
        const Index first = group * kLanes, count = std::min(kLanes, lines - first);
        some.load(first, count);
        some.filter(weights.data, out.data, count);
      }
    }
  });
}

}  // namespace petrt
