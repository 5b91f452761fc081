// Owners of the CUDA runtime's handles and memory. Constructors check and throw. Destructors do
// neither: an error there has been reported before, or comes from a process that is ending.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <utility>

#include "error.h"

namespace petrt::cuda {

// Makes `device` the current one during its lifetime.
class OnDevice {
 public:
  explicit OnDevice(int device);
  ~OnDevice();
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int before_ = 0;
};

// Defers this thread's freeing of memory during its lifetime: CUDA refuses to free during a
// recording, but a garbage collector may do so at any time.
class Recording {
 public:
  Recording();
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
};

// A handle or an address, released once.
template <typename Handle, void (*GiveBack)(Handle)>
class Owned {
 public:
  Owned() = default;
  explicit Owned(Handle handle) : handle_(handle) {}
  Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Owned() {
    if (handle_ != nullptr) GiveBack(handle_);
  }

  Handle get() const { return handle_; }

 private:
  Handle handle_ = nullptr;
};

void give_back(cudaStream_t handle);
void give_back(cudaEvent_t handle);
void give_back(cudaGraph_t handle);
void give_back(cudaGraphExec_t handle);
void free_device(void* address);
void free_pinned(void* address);

// A stream without implicit synchronisation with other streams.
class Stream {
 public:
  explicit Stream(int device);

  int device() const { return device_; }
  cudaStream_t handle() const { return handle_.get(); }
  void synchronize() const;

 private:
  int device_;
  Owned<cudaStream_t, give_back> handle_;
};

// A point in a stream. Timing is optional, because it costs a little.
class Event {
 public:
  explicit Event(int device, bool timing = false);

  void record(cudaStream_t stream) const;
  void synchronize() const;  // returns at once if nothing was recorded
  float milliseconds_since(const Event& start) const;
  cudaEvent_t handle() const { return handle_.get(); }

 private:
  int device_;
  Owned<cudaEvent_t, give_back> handle_;
};

// Work enqueued on `later` from now on starts after the work already enqueued on `earlier`.
void order(cudaStream_t earlier, cudaStream_t later, const Event& event);

// Zeroed device memory at a fixed address.
class DeviceBuffer {
 public:
  DeviceBuffer(int device, std::size_t bytes);

  void* data() const { return address_.get(); }

 private:
  Owned<void*, free_device> address_;
};

// Zeroed page-locked host memory. Its copies run in parallel with the host and the kernels.
class PinnedBuffer {
 public:
  explicit PinnedBuffer(std::size_t bytes);

  void* data() const { return address_.get(); }

 private:
  Owned<void*, free_pinned> address_;
};

void copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);

// Copies to the device on the thread's default stream; complete on return.
void upload_now(int device, void* to, const void* from, std::size_t bytes);

}  // namespace petrt::cuda
