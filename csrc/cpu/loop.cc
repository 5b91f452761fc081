#include "petrt/loop.h"

#include <algorithm>

#include "petrt/check.h"
#include "petrt/in_use.h"
#include "petrt/ops.h"
#include "petrt/parallel.h"

namespace petrt {

ReverseLoop::ReverseLoop(std::vector<StepCoefs> steps, float clip, View<const float, 2> film,
                         LoopShape shape, double sigma_z, int threads)
    : steps_(std::move(steps)),
      clip_(clip),
      shape_(checked(shape)),
      weights_(checked_weights(sigma_z)),
      threads_(threads),
      film_width_(film.shape[1]),
      film_(film.data, film.data + film.size()),
      r_(shape.images() * shape.voxels()),
      eps_(shape.images() * shape.voxels()),
      x0_previous_(shape.images() * shape.voxels()),
      noise_(shape.images() * shape.voxels()),
      film_row_(film.shape[1]),
      mean_(shape.slices * shape.voxels()),
      m2_(shape.slices * shape.voxels()) {
  check_threads(threads);
  check_table(steps_, clip, film);
}

void ReverseLoop::run(const std::function<void()>& enqueue, const LoopNoise& noise) {
  const InUse guard(in_use_);
  check_run(noise);
  const Index size = shape_.images() * shape_.voxels();
  std::copy_n(noise_entry(noise, 0).data, size, r_.data());
  for (Index i = 1; i <= static_cast<Index>(steps_.size()); ++i) {
    const StepCoefs& coefs = steps_[static_cast<std::size_t>(i - 1)];
    std::copy_n(film_.data() + (i - 1) * film_width_, film_width_, film_row_.data());
    enqueue();
    const View<const float, 1> z = coefs.s != 0.0f ? noise_entry(noise, i) : View<const float, 1>{};
    reverse_step({r_.data(), {size}}, {eps_.data(), {size}}, {x0_previous_.data(), {size}}, z,
                 coefs, clip_, threads_);
  }
}

// Entry 0 starts the loop, entry i is added in step i. Drawing before the step costs one pass over
// memory, but drawn and given noise then take the same path.
View<const float, 1> ReverseLoop::noise_entry(const LoopNoise& noise, Index entry) {
  const Index size = shape_.images() * shape_.voxels();
  if (noise.given.data != nullptr) return {noise.given.data + entry * size, {size}};
  normals(noise.seed, {noise.slice_ids.data(), {shape_.slices}}, noise.first_sample,
          static_cast<std::uint32_t>(entry), weights_,
          {noise_.data(), {shape_.slices, shape_.samples, shape_.voxels()}}, threads_);
  return {noise_.data(), {size}};
}

void ReverseLoop::check_run(const LoopNoise& noise) const {
  check_ids(noise.slice_ids, shape_.slices, weights_);
  check_samples(noise.first_sample, shape_.samples);
  if (noise.given.data == nullptr) return;
  check_shape("noise", noise.given,
              {static_cast<Index>(steps_.size()) + 1, shape_.slices, shape_.samples, 1,
               shape_.height, shape_.width});
}

void ReverseLoop::accumulate(View<const float, 4> coarse, float sigma_r) {
  const InUse guard(in_use_);
  check_shape("coarse", coarse, {shape_.slices, 1, shape_.height, shape_.width});
  check_sigma(sigma_r);
  const Index rows = shape_.slices * shape_.height;
  parallel_for(rows, 128, threads_, [&](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) accumulate_row(coarse.data, sigma_r, row);
  });
  count_ += shape_.samples;
}

// Adds all samples of one image row in order, so no sum depends on threads or batches.
void ReverseLoop::accumulate_row(const float* coarse, float sigma_r, Index row) {
  const Index width = shape_.width, slice = row / shape_.height;
  const Index at = row * width;  // index in [slices, 1, H, W]
  for (Index sample = 0; sample < shape_.samples; ++sample) {
    const float* r = r_.data() + at + (slice * (shape_.samples - 1) + sample) * shape_.voxels();
    const float n = static_cast<float>(count_ + sample + 1);
    for (Index x = 0; x < width; ++x) {
      const float y = reconstruct(coarse[at + x], sigma_r, r[x]);
      add_sample(y, n, mean_.data()[at + x], m2_.data()[at + x]);
    }
  }
}

void ReverseLoop::samples(View<const float, 4> coarse, float sigma_r, View<float, 4> out) {
  const InUse guard(in_use_);
  check_shape("coarse", coarse, {shape_.slices, 1, shape_.height, shape_.width});
  check_shape("out", out, {shape_.images(), 1, shape_.height, shape_.width});
  check_sigma(sigma_r);
  const Index voxels = shape_.voxels();
  parallel_for(shape_.images(), 1, threads_, [&](Index begin, Index end) {
    for (Index image = begin; image < end; ++image) {
      const float* base = coarse.data + image / shape_.samples * voxels;
      const float* r = r_.data() + image * voxels;
      float* y = out.data + image * voxels;
      for (Index i = 0; i < voxels; ++i) y[i] = reconstruct(base[i], sigma_r, r[i]);
    }
  });
}

void ReverseLoop::reset() {
  const InUse guard(in_use_);
  std::fill_n(mean_.data(), shape_.slices * shape_.voxels(), 0.0f);
  std::fill_n(m2_.data(), shape_.slices * shape_.voxels(), 0.0f);
  count_ = 0;
}

void ReverseLoop::finish(View<float, 4> mean, View<float, 4> deviation) {
  const InUse guard(in_use_);
  const std::array<Index, 4> expected{shape_.slices, 1, shape_.height, shape_.width};
  const Index size = shape_.slices * shape_.voxels();
  check(count_ >= 1, "finish: expected accumulated samples, got none");
  check_shape("mean", mean, expected);
  if (deviation.data != nullptr) check_shape("std", deviation, expected);
  std::copy_n(mean_.data(), size, mean.data);
  if (deviation.data == nullptr) return;
  petrt::finish({m2_.data(), {size}}, count_, {deviation.data, {size}}, threads_);
}

View<float, 4> ReverseLoop::images_view(const Buffer<float>& buffer) const {
  return {buffer.data(), {shape_.images(), 1, shape_.height, shape_.width}};
}

}  // namespace petrt
