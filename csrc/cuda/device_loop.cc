#include "device_loop.h"

#include <algorithm>

#include "nvtx.h"
#include "ops.h"
#include "petrt/check.h"
#include "petrt/in_use.h"

namespace petrt::cuda {
namespace {

DeviceLoop::Array floats(std::vector<Index> shape, const Stream& stream) {
  return std::make_shared<DeviceArray>(std::move(shape), dtype_of("float32"), stream.device());
}

std::vector<Index> images(const LoopShape& shape) {
  return {shape.images(), 1, shape.height, shape.width};
}

std::vector<Index> slices(const LoopShape& shape) {
  return {shape.slices, 1, shape.height, shape.width};
}

}  // namespace

DeviceLoop::DeviceLoop(std::vector<StepCoefs> steps, float clip, View<const float, 2> film,
                       LoopShape shape, float sigma_r, double sigma_z,
                       std::shared_ptr<const Stream> stream, Index kept)
    : r(floats(images(checked(shape)), *stream)),
      eps(floats(images(shape), *stream)),
      film_row(floats({1, film.shape[1]}, *stream)),
      coarse(floats(slices(shape), *stream)),
      mean(floats(slices(shape), *stream)),
      deviation(floats(slices(shape), *stream)),
      drawn(kept > 0 ? floats({shape.slices, kept, shape.height, shape.width}, *stream) : nullptr),
      steps_(std::move(steps)),
      clip_(clip),
      shape_(shape),
      kept_(kept),
      sigma_r_(sigma_r),
      weights_(checked_weights(sigma_z)),
      stream_(std::move(stream)),
      film_({film.shape[0], film.shape[1]}, dtype_of("float32"), stream_->device()),
      x0_previous_(images(shape), dtype_of("float32"), stream_->device()),
      m2_(slices(shape), dtype_of("float32"), stream_->device()),
      keys_(shape.slices, stream_->device()),
      fork_(stream_->device()),
      join_(stream_->device()) {
  check_table(steps_, clip, film);
  check_sigma(sigma_r);
  upload_now(stream_->device(), film_.data(), film.data, static_cast<std::size_t>(film_.bytes()));
}

void DeviceLoop::set_run(const RunKeys& keys, const std::vector<std::uint32_t>& slice_ids) {
  const InUse guard(in_use_);
  check_ids(slice_ids, shape_.slices, weights_);
  check_samples(keys.first_sample, shape_.samples);
  const OnDevice current(stream_->device());
  keys_.set(keys, slice_ids, *stream_);
  first_sample_ = keys.first_sample;
}

void DeviceLoop::run(const Networks& networks, Index total, const Noise& noise,
                     const Caller& caller) {
  const InUse guard(in_use_);
  const ProfilerRange range("petrt run");
  check_total(total);
  if (noise.data == nullptr) {
    check_keys(total);
  } else {
    check_shape("noise", noise,
                {chunks(total), static_cast<Index>(steps_.size()) + 1, shape_.slices,
                 shape_.samples, 1, shape_.height, shape_.width});
  }
  between(caller, [&] { enqueue_run(networks, total, noise); });
}

void DeviceLoop::capture(const Networks& networks, Index total) {
  const InUse guard(in_use_);
  const ProfilerRange range("petrt capture");
  check_total(total);
  Graph graph(*stream_, [&] { enqueue_run(networks, total, {}); });
  graphs_.insert_or_assign(total, std::move(graph));
}

void DeviceLoop::replay(Index total, const Caller& caller) {
  const InUse guard(in_use_);
  const ProfilerRange range("petrt replay");
  const auto graph = graphs_.find(total);
  check(graph != graphs_.end(), "total: expected one that was captured, got ", total);
  check_keys(total);
  between(caller, [&] { graph->second.launch(*stream_); });
}

void DeviceLoop::check_total(Index total) const {
  check(total >= 1, "total: expected at least 1 sample, got ", total);
  check_samples(0, chunks(total) * shape_.samples);
  check(kept_ == 0 || total == kept_, "total: expected the ", kept_, " samples that are kept, got ",
        total);
}

void DeviceLoop::check_keys(Index total) const {
  check(first_sample_.has_value(), "run: expected set_run before noise is drawn");
  check_samples(*first_sample_, chunks(total) * shape_.samples);
}

void DeviceLoop::between(const Caller& caller, const std::function<void()>& work) const {
  if (caller) order(*caller, stream_->handle(), fork_);
  work();
  if (caller) order(stream_->handle(), *caller, join_);
}

void DeviceLoop::enqueue_run(const Networks& networks, Index total, const Noise& noise) {
  {
    const ProfilerRange range("guidance and coarse");
    networks.prologue();
  }
  for (Index chunk = 0; chunk < chunks(total); ++chunk) {
    enqueue_chunk(networks, total, chunk, noise);
  }
}

void DeviceLoop::enqueue_chunk(const Networks& networks, Index total, Index chunk,
                               const Noise& noise) {
  const OnDevice current(stream_->device());
  const bool wide = aligned(noise.data);  // our own memory always is
  const Parts each(shape_.images(), shape_.voxels(), wide);
  enqueue(Start{each, r->floats(), noise_entry(noise, chunk, 0), film_from(0)}, stream_->handle());
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    {
      const ProfilerRange range("denoiser");
      networks.enqueue();
    }
    const Index entry = static_cast<Index>(i) + 1;
    const bool keep_x0 = i + 1 < steps_.size() && steps_[i + 1].c != 0.0f;
    enqueue(Step{each, steps_[i], clip_, r->floats(), eps->floats(), x0_previous_.floats(), keep_x0,
                 noise_entry(noise, chunk, entry), film_from(entry)},
            stream_->handle());
  }
  const Index before = chunk * shape_.samples, used = std::min(shape_.samples, total - before);
  const bool last = before + used == total;
  enqueue(Average{Parts(shape_.slices, shape_.voxels(), true), r->floats(), shape_.samples, used,
                  coarse->floats(), sigma_r_, mean->floats(), m2_.floats(), before, !last,
                  last ? deviation->floats() : nullptr, drawn ? drawn->floats() : nullptr, kept_},
          stream_->handle());
}

// Entry 0 starts a chunk, entry i is added in step i.
NoiseEntry DeviceLoop::noise_entry(const Noise& noise, Index chunk, Index entry) const {
  const Index entries = static_cast<Index>(steps_.size()) + 1;
  const Index at = (chunk * entries + entry) * shape_.images() * shape_.voxels();
  return {keys_.keys(),
          keys_.slice_ids(),
          static_cast<std::uint32_t>(shape_.samples),
          static_cast<std::uint32_t>(chunk * shape_.samples),
          static_cast<std::uint32_t>(entry),
          noise.data == nullptr ? nullptr : noise.data + at,
          weights_};
}

// Copies row `step` of the noise-bias table for the network's next call; nothing after the last.
FilmRow DeviceLoop::film_from(Index step) const {
  const Index width = film_.shape()[1];
  if (step >= static_cast<Index>(steps_.size())) return {nullptr, nullptr, 0};
  return {film_.floats() + step * width, film_row->floats(), static_cast<std::uint32_t>(width)};
}

}  // namespace petrt::cuda
