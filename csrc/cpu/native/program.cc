#include "petrt/program.h"

#include <cmath>
#include <cstdint>

namespace petrt::native {
namespace {

constexpr std::size_t kAlignment = 64;

float* aligned(float* p) {
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  return reinterpret_cast<float*>((address + kAlignment - 1) / kAlignment * kAlignment);
}

// Calls body(x, y, index of y's image) with the addresses of every value.
template <typename Body>
void each_value(const Tensor& x, const Tensor& y, const Body& body) {
  for (Index n = 0; n < y.images; ++n) {
    for (Index h = 0; h < y.height; ++h) {
      for (Index w = 0; w < y.width; ++w) {
        const float* from = x.data + n * x.image + h * x.row + w * x.pixel;
        float* to = y.data + n * y.image + h * y.row + w * y.pixel;
        for (Index c = 0; c < y.channels; ++c)
          body(from[c * x.channel], to[c * y.channel], n, h, w, c);
      }
    }
  }
}

struct Scratch {
  const Kernels& kernels;

  Index operator()(const Conv& task) const { return kernels.conv_scratch(task); }
  Index operator()(const Statistics& task) const { return kernels.statistics_scratch(task); }
  Index operator()(const Attention& task) const { return kernels.attention_scratch(task); }
  template <typename Plain>
  Index operator()(const Plain&) const {
    return 0;
  }
};

struct Run {
  const Kernels& kernels;
  float* scratch;

  void operator()(const Conv& task) const { kernels.conv(task, scratch); }
  void operator()(const Statistics& task) const { kernels.statistics(task, scratch); }
  void operator()(const Attention& task) const { kernels.attention(task, scratch); }

  void operator()(const DoseRow& task) const {
    for (Index n = 0; n < task.images; ++n) {
      const float level = std::log(task.dose[n]) * task.scale;
      for (Index c = 0; c < task.channels; ++c) {
        task.row[n * task.channels + c] = level * task.weight[c] + task.bias[c];
      }
    }
  }

  void operator()(const Copy& task) const {
    each_value(task.x, task.y,
               [](float from, float& to, Index, Index, Index, Index) { to = from; });
  }

  void operator()(const Sum& task) const {
    const Tensor& other = task.addend;
    each_value(task.x, task.y, [&](float from, float& to, Index n, Index h, Index w, Index c) {
      to = from + other.data[n / task.repeat * other.image + h * other.row + w * other.pixel +
                             c * other.channel];
    });
  }
};

}  // namespace

void Program::add(const Task& task) {
  const Index needed = std::visit(Scratch{kernels_}, task);
  const std::size_t floats = static_cast<std::size_t>(needed) + kAlignment / sizeof(float);
  if (floats > scratch_floats_) {
    scratch_.reset(
        new float[floats]);  // not value-initialised: pages that are not used cost nothing
    scratch_floats_ = floats;
  }
  tasks_.push_back(task);
}

void Program::run() {
  float* const scratch = aligned(scratch_.get());
  for (const Task& task : tasks_) std::visit(Run{kernels_, scratch}, task);
}

}  // namespace petrt::native
