// One network at one size, as the list of what its kernels do, on fixed memory.
#pragma once

#include <cstddef>
#include <memory>
#include <variant>
#include <vector>

#include "petrt/native.h"

namespace petrt::native {

// The biases that a dose gives (petrt.nets.guidance): ln(dose) * scale * weight + bias.
struct DoseRow {
  const float* dose = nullptr;  // [images]
  Index images = 0, channels = 0;
  float scale = 1.0f;
  const float* weight = nullptr;  // [channels]
  const float* bias = nullptr;    // [channels]
  float* row = nullptr;           // [images, channels]
};

// y = x, whatever the layouts.
struct Copy {
  Tensor x, y;
};

// y = x + addend of [images of y / repeat, ...].
struct Sum {
  Tensor x, y, addend;
  Index repeat = 1;
};

using Task = std::variant<Conv, Statistics, Attention, DoseRow, Copy, Sum>;

// Does not own what its tasks point at. One thread runs a program at a time.
class Program {
 public:
  explicit Program(const Kernels& kernels) : kernels_(kernels) {}

  void add(const Task& task);

  // Every task in order, each divided among `threads`. The same memory contents give the same bits,
  // whatever their number.
  void run(int threads);

  // Bytes of memory beside the tasks' own, for one thread.
  std::size_t scratch_bytes() const { return scratch_floats_ * sizeof(float); }

 private:
  const Kernels& kernels_;
  std::vector<Task> tasks_;
  std::size_t scratch_floats_ = 0, room_ = 0;
  std::unique_ptr<float[]> scratch_;  // of all threads
};

}  // namespace petrt::native
