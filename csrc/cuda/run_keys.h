// Copies seed and slice ids to device memory without stopping the stream.
#pragma once

#include <array>
#include <vector>

#include "petrt/kernels.h"
#include "runtime.h"

namespace petrt::cuda {

class RunKeyBuffer {
 public:
  RunKeyBuffer(Index slices, int device);

  // Kernels enqueued afterwards read these. The host waits only if all slots are still being
  // copied.
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
