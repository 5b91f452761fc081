// The reverse loop: draws noise, calls a given network, steps and averages.
#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "petrt/buffer.h"
#include "petrt/loop_table.h"
#include "petrt/step.h"
#include "petrt/view.h"

namespace petrt {

// The noise of a run: drawn from (seed, slice id, sample), or given.
struct LoopNoise {
  std::uint64_t seed = 0;
  std::vector<std::uint32_t> slice_ids;  // [slices]
  std::uint32_t first_sample = 0;        // number of the loop's sample 0 among a slice's samples
  View<const float, 6> given;            // [steps + 1, slices, samples, 1, H, W]; null to draw
};

// Images are slice-major: image = slice * samples + sample. Buffers never move.
class ReverseLoop {
 public:
  ReverseLoop(std::vector<StepCoefs> steps, float clip,
              View<const float, 2> film,  // [steps, C], copied
              LoopShape shape, double sigma_z, int threads);

  // r <- noise 0; then for each step i = 1 ..: film_row <- film[i - 1], enqueue() (reads r and
  // film_row, writes eps), reverse step with noise i. An exception of enqueue ends the run.
  void run(const std::function<void()>& enqueue, const LoopNoise& noise);

  // Adds max(coarse + sigma_r r, 0) of every sample to mean and m2, in the order of the samples.
  void accumulate(View<const float, 4> coarse /* [slices, 1, H, W] */, float sigma_r);
  void reset();

  // Writes max(coarse + sigma_r r, 0) of every sample of the last run, [images, 1, H, W].
  void samples(View<const float, 4> coarse /* [slices, 1, H, W] */, float sigma_r,
               View<float, 4> out);

  // Writes mean and, unless null, sample standard deviation of all samples, [slices, 1, H, W].
  void finish(View<float, 4> mean, View<float, 4> deviation);

  Index count() const { return count_; }
  View<float, 4> r() const { return images_view(r_); }
  View<float, 4> eps() const { return images_view(eps_); }
  View<float, 2> film_row() const { return {film_row_.data(), {1, film_width_}}; }

 private:
  View<float, 4> images_view(const Buffer<float>& buffer) const;
  View<const float, 1> noise_entry(const LoopNoise& noise, Index entry);
  void check_run(const LoopNoise& noise) const;
  void accumulate_row(const float* coarse, float sigma_r, Index row);

  const std::vector<StepCoefs> steps_;
  const float clip_;
  const LoopShape shape_;
  const SliceWeights weights_;
  const int threads_;
  const Index film_width_;
  std::vector<float> film_;
  Buffer<float> r_, eps_, x0_previous_, noise_;  // [images, 1, H, W]
  Buffer<float> film_row_;                       // [1, C]
  Buffer<float> mean_, m2_;                      // [slices, 1, H, W]
  Index count_ = 0;
  std::atomic<bool> in_use_{false};
};

}  // namespace petrt
