#include "runtime.h"

#include <cstring>
#include <new>
#include <vector>

namespace petrt::cuda {

OnDevice::OnDevice(int device) {
  check_cuda(cudaGetDevice(&before_), "cudaGetDevice");
  check_cuda(cudaSetDevice(device), "cudaSetDevice to ", device);
}

OnDevice::~OnDevice() {
  (void)cudaSetDevice(before_);
}

namespace {

// Memory to free after this thread has recorded a graph.
struct Kept {
  void* address;
  void (*free)(void*);
};

thread_local int recordings = 0;
thread_local std::vector<Kept> kept;

void free_now_or_later(void* address, void (*free)(void*)) {
  if (recordings == 0) return free(address);
  try {
    kept.push_back({address, free});
  } catch (const std::bad_alloc&) {  // leaks the memory, because a destructor must not throw
  }
}

cudaStream_t new_stream(int device) {
  const OnDevice current(device);
  cudaStream_t handle = nullptr;
  check_cuda(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking), "cudaStreamCreate");
  return handle;
}

cudaEvent_t new_event(int device, bool timing) {
  const OnDevice current(device);
  cudaEvent_t handle = nullptr;
  const unsigned flags = timing ? cudaEventDefault : cudaEventDisableTiming;
  check_cuda(cudaEventCreateWithFlags(&handle, flags), "cudaEventCreate");
  return handle;
}

void* new_memory(std::size_t bytes) {
  void* address = nullptr;
  if (bytes != 0) check_cuda(cudaMalloc(&address, bytes), "cudaMalloc of ", bytes, " bytes");
  return address;
}

void* new_pinned(std::size_t bytes) {
  void* address = nullptr;
  if (bytes == 0) return address;
  check_cuda(cudaMallocHost(&address, bytes), "cudaMallocHost of ", bytes, " bytes");
  return address;
}

}  // namespace

Recording::Recording() {
  ++recordings;
}

Recording::~Recording() {
  if (--recordings > 0) return;
  for (const Kept& memory : std::exchange(kept, {})) memory.free(memory.address);
}

void give_back(cudaStream_t handle) {
  (void)cudaStreamDestroy(handle);
}

void give_back(cudaEvent_t handle) {
  (void)cudaEventDestroy(handle);
}

void give_back(cudaGraph_t handle) {
  (void)cudaGraphDestroy(handle);
}

void give_back(cudaGraphExec_t handle) {
  (void)cudaGraphExecDestroy(handle);
}

void free_device(void* address) {
  free_now_or_later(address, [](void* memory) { (void)cudaFree(memory); });
}

void free_pinned(void* address) {
  free_now_or_later(address, [](void* memory) { (void)cudaFreeHost(memory); });
}

Stream::Stream(int device) : device_(device), handle_(new_stream(device)) {}

void Stream::synchronize() const {
  const OnDevice current(device_);
  check_cuda(cudaStreamSynchronize(handle()), "cudaStreamSynchronize");
}

Event::Event(int device, bool timing) : device_(device), handle_(new_event(device, timing)) {}

void Event::record(cudaStream_t stream) const {
  const OnDevice current(device_);
  check_cuda(cudaEventRecord(handle(), stream), "cudaEventRecord");
}

void Event::synchronize() const {
  const OnDevice current(device_);
  check_cuda(cudaEventSynchronize(handle()), "cudaEventSynchronize");
}

float Event::milliseconds_since(const Event& start) const {
  float milliseconds = 0.0f;
  check_cuda(cudaEventElapsedTime(&milliseconds, start.handle(), handle()), "cudaEventElapsedTime");
  return milliseconds;
}

void order(cudaStream_t earlier, cudaStream_t later, const Event& event) {
  event.record(earlier);
  check_cuda(cudaStreamWaitEvent(later, event.handle(), 0), "cudaStreamWaitEvent");
}

// Zeroes on this thread's own stream, which does not wait for other work.
DeviceBuffer::DeviceBuffer(int device, std::size_t bytes) {
  const OnDevice current(device);
  address_ = Owned<void*, free_device>(new_memory(bytes));
  if (bytes == 0) return;
  check_cuda(cudaMemsetAsync(data(), 0, bytes, cudaStreamPerThread), "cudaMemset");
  check_cuda(cudaStreamSynchronize(cudaStreamPerThread), "cudaMemset");
}

PinnedBuffer::PinnedBuffer(std::size_t bytes) : address_(new_pinned(bytes)) {
  if (bytes != 0) std::memset(data(), 0, bytes);
}

void copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (bytes == 0) return;
  check_cuda(cudaMemcpyAsync(to, from, bytes, kind, stream), "cudaMemcpyAsync of ", bytes,
             " bytes");
}

void upload_now(int device, void* to, const void* from, std::size_t bytes) {
  const OnDevice current(device);
  copy(to, from, bytes, cudaMemcpyHostToDevice, cudaStreamPerThread);
  check_cuda(cudaStreamSynchronize(cudaStreamPerThread), "cudaMemcpy");
}

}  // namespace petrt::cuda
