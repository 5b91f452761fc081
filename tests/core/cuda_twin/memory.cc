// Device and page-locked memory, and copies between them.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "twin.h"

using twin::Block;
using twin::Lock;
using twin::note;
using twin::state;

namespace {

constexpr int kNan = 0xFF;  // a NaN in every floating-point format
constexpr std::size_t kKept = std::size_t{64} << 20;

std::size_t used(int device) {
  std::size_t bytes = 0;
  for (const auto& [address, block] : state().blocks) {
    if (block.device == device) bytes += block.bytes;
  }
  return bytes;
}

// The block that holds an address; null for memory that is not of the runtime, or freed.
const Block* block_at(const void* address, std::size_t bytes = 0) {
  const auto number = reinterpret_cast<std::uintptr_t>(address);
  auto after = state().blocks.upper_bound(number);
  if (after == state().blocks.begin()) return nullptr;
  const auto& [begin, block] = *--after;
  const std::size_t offset = number - begin;
  return offset < block.bytes && bytes <= block.bytes - offset ? &block : nullptr;
}

bool on_device(const void* address, std::size_t bytes) {
  const Block* const block = block_at(address, bytes);
  return block != nullptr && block->device != twin::kPinned;
}

bool valid_copy(const void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  const bool to_device = kind != cudaMemcpyDeviceToHost;
  const bool from_device = kind != cudaMemcpyHostToDevice;
  return on_device(to, to_device ? bytes : 0) == to_device &&
         on_device(from, from_device ? bytes : 0) == from_device;
}

cudaError_t allocate(void** address, std::size_t bytes, int device) {
  const Lock lock;
  if (const cudaError_t status = twin::unsafe_call()) return note(status);
  const bool pinned = device == twin::kPinned;
  if (!pinned && bytes > state().memory - std::min(used(device), state().memory)) {
    return note(cudaErrorMemoryAllocation);
  }
  *address = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (*address == nullptr) return note(cudaErrorMemoryAllocation);
  std::memset(*address, kNan, bytes);
  state().blocks[reinterpret_cast<std::uintptr_t>(*address)] = {bytes, device};
  return cudaSuccess;
}

// As on a GPU, after everything that is enqueued.
cudaError_t release(void* address, bool pinned) {
  const Lock lock;
  if (const cudaError_t status = twin::unsafe_call()) return note(status);
  const auto found = state().blocks.find(reinterpret_cast<std::uintptr_t>(address));
  if (found == state().blocks.end()) return note(cudaErrorInvalidValue);
  if ((found->second.device == twin::kPinned) != pinned) return note(cudaErrorInvalidValue);
  if (state().depth == 0) twin::run_everything();
  const std::size_t bytes = found->second.bytes;
  state().blocks.erase(found);
  std::memset(address, kNan, bytes);
  state().freed.emplace_back(address, bytes);
  state().freed_bytes += bytes;
  while (state().freed_bytes > kKept) {
    std::free(state().freed.front().first);
    state().freed_bytes -= state().freed.front().second;
    state().freed.pop_front();
  }
  return cudaSuccess;
}

}  // namespace

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  const Lock lock;
  *total = state().memory;
  *free = *total - std::min(used(twin::device()), *total);
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** address, std::size_t bytes) {
  return allocate(address, bytes, twin::device());
}

cudaError_t cudaFree(void* address) {
  return release(address, false);
}

cudaError_t cudaMallocHost(void** address, std::size_t bytes) {
  return allocate(address, bytes, twin::kPinned);
}

cudaError_t cudaFreeHost(void* address) {
  return release(address, true);
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* address) {
  const Lock lock;
  const Block* const block = block_at(address);
  if (block == nullptr) {
    *attributes = {cudaMemoryTypeUnregistered, -1};
  } else if (block->device == twin::kPinned) {
    *attributes = {cudaMemoryTypeHost, 0};
  } else {
    *attributes = {cudaMemoryTypeDevice, block->device};
  }
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* address, int value, std::size_t bytes, cudaStream_t stream) {
  const Lock lock;
  if (!on_device(address, bytes)) return note(cudaErrorInvalidValue);
  return note(twin::enqueue(stream, [=] { std::memset(address, value, bytes); }));
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  const Lock lock;
  if (!valid_copy(to, from, bytes, kind)) return note(cudaErrorInvalidValue);
  return note(twin::enqueue(stream, [=] {
    if (valid_copy(to, from, bytes, kind)) {  // a graph may outlive its memory
      std::memcpy(to, from, bytes);
    } else {
      state().failure = cudaErrorInvalidValue;
    }
  }));
}
