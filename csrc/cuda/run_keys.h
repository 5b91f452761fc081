// Seed and slice ids on their way into device memory, without ever stopping the stream.
#pragma once

#include <array>
#include <vector>

#include "petrt/kernels.h"
#include "runtime.h"

namespace petrt::cuda {

class RunKeyBuffer {
 public:
  RunKeyBuffer(Index slices, int device);

  // Kernels enqueued afterwards read these. Waits on the host only when as many sets as there are
  // slots are still on their way.
  void set(const RunKeys& keys, const std::vector<std::uint32_t>& slice_ids, const Stream& stream);

  const RunKeys* keys() const { return static_cast<const RunKeys*>(device_.data()); }
  const std::uint32_t* slice_ids() const {
    return reinterpret_cast<const std::uint32_t*>(keys() + 1);
  }

 private:
  struct Slot {
    PinnedBuffer memory;
    Event copied;
  };

  std::size_t bytes_;
  DeviceBuffer device_;
  std::vector<Slot> slots_;
  std::size_t next_ = 0;
};

}  // namespace petrt::cuda
