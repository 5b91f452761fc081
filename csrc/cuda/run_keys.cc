#include "run_keys.h"

#include <cstring>

namespace petrt::cuda {

constexpr int kSlots = 4;

RunKeyBuffer::RunKeyBuffer(Index slices, int device)
    : bytes_(sizeof(RunKeys) + static_cast<std::size_t>(slices) * sizeof(std::uint32_t)),
      device_(device, bytes_) {
  const OnDevice current(device);
  for (int i = 0; i < kSlots; ++i) slots_.push_back({PinnedBuffer(bytes_), Event(device)});
}

void RunKeyBuffer::set(const RunKeys& keys, const std::vector<std::uint32_t>& slice_ids,
                       const Stream& stream) {
  const Slot& slot = slots_[next_];
  next_ = (next_ + 1) % slots_.size();
  slot.copied.synchronize();
  char* memory = static_cast<char*>(slot.memory.data());
  std::memcpy(memory, &keys, sizeof(keys));
  std::memcpy(memory + sizeof(keys), slice_ids.data(), slice_ids.size() * sizeof(std::uint32_t));
  copy(device_.data(), memory, bytes_, cudaMemcpyHostToDevice, stream.handle());
  slot.copied.record(stream.handle());
}

}  // namespace petrt::cuda
