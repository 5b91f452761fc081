// The program of one network at one size: a list of kernel calls on fixed memory.
#pragma once

#include <cstddef>
#include <memory>
#include <variant>
#include <vector>

#include "petrt/native.h"

namespace petrt::native {

// Biases computed from the dose (petrt.nets.guidance): ln(dose) * scale * weight + bias.
struct DoseRow {
  const float* dose = nullptr;  // [images]
  Index images = 0, channels = 0;
  float scale = 1.0f;
  const float* weight = nullptr;  // [channels]
  const float* bias = nullptr;    // [channels]
  float* row = nullptr;           // [images, channels]
};

// y = x, with any layouts.
struct Copy {
  Tensor x, y;
};

// y = x + addend; the addend has (images of y) / repeat images.
struct Sum {
  Tensor x, y, addend;
  Index repeat = 1;
};

using Task = std::variant<Conv, Statistics, Attention, DoseRow, Copy, Sum>;

// Does not own the memory of its tasks. Only one thread may run a program at a time.
class Program {
 public:
  explicit Program(const Kernels& kernels) : kernels_(kernels) {}

  void add(const Task& task);

  // Runs the tasks in order, each divided among `threads`. The result does not depend on `threads`.
  void run(int threads);

  // Bytes of scratch memory for one thread.
  std::size_t scratch_bytes() const { return scratch_floats_ * sizeof(float); }

 private:
  const Kernels& kernels_;
  std::vector<Task> tasks_;
  std::size_t scratch_floats_ = 0, room_ = 0;
  std::unique_ptr<float[]> scratch_;  // for all threads
};

}  // namespace petrt::native
