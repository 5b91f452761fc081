#include "petrt/program.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "crew.h"

namespace petrt::native {
namespace {

constexpr std::size_t kLine = 16;  // floats in a cache line

float* aligned(float* p) {
  constexpr std::size_t bytes = kLine * sizeof(float);
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  return reinterpret_cast<float*>((address + bytes - 1) / bytes * bytes);
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
  Part part;
  float* scratch;

  void operator()(const Conv& task) const { kernels.conv(task, part, scratch); }
  void operator()(const Statistics& task) const { kernels.statistics(task, part, scratch); }
  void operator()(const Attention& task) const { kernels.attention(task, part, scratch); }

  // The rest is too little work to share.
  void operator()(const DoseRow& task) const {
    if (part.index > 0) return;
    for (Index n = 0; n < task.images; ++n) {
      const float level = std::log(task.dose[n]) * task.scale;
      for (Index c = 0; c < task.channels; ++c) {
        task.row[n * task.channels + c] = level * task.weight[c] + task.bias[c];
      }
    }
  }

  void operator()(const Copy& task) const {
    if (part.index > 0) return;
    each_value(task.x, task.y,
               [](float from, float& to, Index, Index, Index, Index) { to = from; });
  }

  void operator()(const Sum& task) const {
    if (part.index > 0) return;
    const Tensor& other = task.addend;
    each_value(task.x, task.y, [&](float from, float& to, Index n, Index h, Index w, Index c) {
      to = from + other.data[n / task.repeat * other.image + h * other.row + w * other.pixel +
                             c * other.channel];
    });
  }
};

}  // namespace

void Program::add(const Task& task) {
  const auto needed = static_cast<std::size_t>(std::visit(Scratch{kernels_}, task));
  scratch_floats_ = std::max(scratch_floats_, (needed + kLine - 1) / kLine * kLine);
  tasks_.push_back(task);
}

void Program::run(int threads) {
  const std::size_t floats = scratch_floats_ * static_cast<std::size_t>(threads) + kLine;
  if (floats > room_) {
    scratch_.reset(new float[floats]);  // not initialised, so unused pages cost nothing
    room_ = floats;
  }
  Crew crew;
  crew.work(threads, [&](Part part) {
    float* const scratch =
        aligned(scratch_.get()) + scratch_floats_ * static_cast<std::size_t>(part.index);
    for (const Task& task : tasks_) {
      std::visit(Run{kernels_, part, scratch}, task);
      crew.meet();  // the next task reads what this one wrote
    }
  });
}

}  // namespace petrt::native
