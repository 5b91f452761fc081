// Streams, events and graphs.
#include <utility>

#include "twin.h"

using twin::Capture;
using twin::Lock;
using twin::Mark;
using twin::note;
using twin::state;

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  const Lock lock;
  if (flags != cudaStreamNonBlocking) return note(cudaErrorInvalidValue);
  *stream = new TwinStream{twin::device(), {}, nullptr};
  state().streams.insert(*stream);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Lock lock;
  if (state().streams.count(stream) == 0) return note(cudaErrorInvalidResourceHandle);
  twin::run_all(*stream);
  state().streams.erase(stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  const Lock lock;
  TwinStream* const stream = twin::find(handle);
  if (stream == nullptr) return note(cudaErrorInvalidResourceHandle);
  if (stream->capture) {
    stream->capture->broken = true;
    return note(cudaErrorStreamCaptureUnsupported);
  }
  twin::run_all(*stream);
  return note(twin::failure_of_work());
}

// Waiting for what is outside a recording, or from outside for what is inside, is refused. (CUDA
// would let another stream join the recording; nothing here needs that.)
cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  const Lock lock;
  TwinStream* const stream = twin::find(handle);
  if (stream == nullptr || state().events.count(event) == 0) {
    return note(cudaErrorInvalidResourceHandle);
  }
  const bool never = !event->mark && !event->capture;
  if (never || (stream->capture && stream->capture == event->capture)) return cudaSuccess;
  if (stream->capture || event->capture) {
    for (const auto& capture : {stream->capture, event->capture}) {
      if (capture) capture->broken = true;
    }
    return note(cudaErrorStreamCaptureIsolation);
  }
  return note(twin::enqueue(handle, [mark = event->mark] { twin::run_until(*mark); }));
}

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  const Lock lock;
  TwinStream* const stream = twin::find(handle);
  if (stream == nullptr || reinterpret_cast<std::uintptr_t>(handle) <= 2) {
    return note(cudaErrorStreamCaptureUnsupported);
  }
  if (mode != cudaStreamCaptureModeThreadLocal) return note(cudaErrorInvalidValue);
  if (stream->capture) return note(cudaErrorIllegalState);
  stream->capture = std::make_shared<Capture>();
  state().captures.insert(stream->capture);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  const Lock lock;
  *graph = nullptr;
  TwinStream* const stream = twin::find(handle);
  if (stream == nullptr) return note(cudaErrorInvalidResourceHandle);
  if (!stream->capture) return note(cudaErrorIllegalState);
  if (stream->capture->thread != std::this_thread::get_id()) {
    return note(cudaErrorStreamCaptureWrongThread);
  }
  const auto capture = std::exchange(stream->capture, nullptr);
  state().captures.erase(capture);
  if (capture->broken) return note(cudaErrorStreamCaptureInvalidated);
  *graph = new TwinGraph{capture->nodes};
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  const Lock lock;
  *event = new TwinEvent{twin::device(), flags != cudaEventDisableTiming, nullptr, nullptr};
  state().events.insert(*event);
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const Lock lock;
  if (state().events.erase(event) == 0) return note(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  const Lock lock;
  TwinStream* const stream = twin::find(handle);
  if (stream == nullptr || state().events.count(event) == 0 || event->device != stream->device) {
    return note(cudaErrorInvalidResourceHandle);
  }
  event->capture = stream->capture;
  event->mark = nullptr;
  if (stream->capture) return cudaSuccess;
  event->mark = std::make_shared<Mark>(Mark{stream});
  return note(twin::enqueue(handle, [mark = event->mark] {
    mark->passed = true;
    mark->when = std::chrono::steady_clock::now();
  }));
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Lock lock;
  if (state().events.count(event) == 0) return note(cudaErrorInvalidResourceHandle);
  if (event->capture) return note(cudaErrorCapturedEvent);
  if (event->mark) twin::run_until(*event->mark);
  return note(twin::failure_of_work());
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t stop) {
  const Lock lock;
  for (const cudaEvent_t event : {start, stop}) {
    if (state().events.count(event) == 0 || !event->timing || !event->mark) {
      return note(cudaErrorInvalidResourceHandle);
    }
    if (!event->mark->passed) return note(cudaErrorNotReady);
  }
  const std::chrono::duration<float, std::milli> elapsed = stop->mark->when - start->mark->when;
  *milliseconds = elapsed.count();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  const Lock lock;
  *exec = new TwinGraphExec{twin::device(),
                            std::make_shared<const std::vector<twin::Work>>(graph->nodes)};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  const Lock lock;
  return note(twin::enqueue(stream, [nodes = exec->nodes] {
    for (const twin::Work& work : *nodes) work();
  }));
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const Lock lock;
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  const Lock lock;
  delete exec;
  return cudaSuccess;
}
