// Errors, devices and the work queues.
#include <Python.h>

#include <cstdio>
#include <utility>

#include "twin.h"

thread_local dim3 blockIdx, threadIdx;

namespace twin {

State& state() {
  static State* const all = new State;  // outlives every owner of a handle
  return *all;
}

Lock::Lock() {
  if (state().mutex.try_lock()) return;
  PyThreadState* const thread = PyGILState_Check() != 0 ? PyEval_SaveThread() : nullptr;
  state().mutex.lock();
  if (thread != nullptr) PyEval_RestoreThread(thread);
}

namespace {

thread_local cudaError_t last_error = cudaSuccess;
thread_local int current_device = 0;

TwinStream& default_of(std::map<int, std::unique_ptr<TwinStream>>& streams) {
  auto& stream = streams[current_device];
  if (!stream) stream.reset(new TwinStream{current_device, {}, nullptr});
  return *stream;
}

}  // namespace

cudaError_t note(cudaError_t status) {
  if (status != cudaSuccess) last_error = status;
  return status;
}

int device() {
  return current_device;
}

TwinStream* find(cudaStream_t handle) {
  const auto number = reinterpret_cast<std::uintptr_t>(handle);
  if (number < 2) return &default_of(state().legacy);
  if (number == 2) return &default_of(state().per_thread);
  return state().streams.count(handle) != 0 ? handle : nullptr;
}

// Allocating and freeing: what a thread may not do while it records.
cudaError_t unsafe_call() {
  for (const auto& capture : state().captures) {
    if (capture->thread != std::this_thread::get_id()) continue;
    capture->broken = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  return cudaSuccess;
}

cudaError_t enqueue(cudaStream_t handle, Work work) {
  TwinStream* const stream = find(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (!stream->capture) {
    stream->queue.push_back(std::move(work));
  } else if (stream->capture->broken) {
    return cudaErrorStreamCaptureInvalidated;
  } else {
    stream->capture->nodes.push_back(std::move(work));
  }
  return cudaSuccess;
}

void run_next(TwinStream& stream) {
  const Work work = std::move(stream.queue.front());
  stream.queue.pop_front();
  ++state().depth;
  work();
  --state().depth;
}

void run_all(TwinStream& stream) {
  while (!stream.queue.empty()) run_next(stream);
}

void run_until(const Mark& mark) {
  while (!mark.passed && !mark.stream->queue.empty()) run_next(*mark.stream);
}

void run_everything() {
  for (TwinStream* stream : state().streams) run_all(*stream);
  for (auto* streams : {&state().legacy, &state().per_thread}) {
    for (auto& [number, stream] : *streams) run_all(*stream);
  }
}

cudaError_t failure_of_work() {
  return std::exchange(state().failure, cudaSuccess);
}

}  // namespace twin

using twin::Lock;
using twin::note;
using twin::state;

namespace {

struct Named {
  cudaError_t error;
  const char* name;
  const char* text;
};

constexpr Named kErrors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver", "insufficient driver"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorIllegalState, "cudaErrorIllegalState", "the operation cannot be performed"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation",
     "dependency created on uncaptured work in another stream"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent",
     "operation not permitted on an event last recorded in a capturing stream"},
    {cudaErrorStreamCaptureWrongThread, "cudaErrorStreamCaptureWrongThread",
     "attempt to terminate a thread-local capture sequence from another thread"},
};

const Named& named(cudaError_t error) {
  for (const Named& one : kErrors) {
    if (one.error == error) return one;
  }
  return kErrors[1];
}

}  // namespace

const char* cudaGetErrorName(cudaError_t error) {
  return named(error).name;
}

const char* cudaGetErrorString(cudaError_t error) {
  return named(error).text;
}

cudaError_t cudaGetLastError() {
  return std::exchange(twin::last_error, cudaSuccess);
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  const Lock lock;
  *count = state().devices;
  return note(*count > 0 ? cudaSuccess : cudaErrorNoDevice);
}

// The first device is built in last, as where CUDA puts the fastest first.
cudaError_t cudaDeviceGetPCIBusId(char* id, int size, int number) {
  const Lock lock;
  const int devices = state().devices;
  if (number < 0 || number >= devices) return note(cudaErrorInvalidDevice);
  std::snprintf(id, static_cast<std::size_t>(size), "0000:%02X:00.0",
                1 + 0x40 * (devices - 1 - number));
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* number) {
  *number = twin::current_device;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int number) {
  const Lock lock;
  if (number < 0 || number >= state().devices) return note(cudaErrorInvalidDevice);
  twin::current_device = number;
  return cudaSuccess;
}
