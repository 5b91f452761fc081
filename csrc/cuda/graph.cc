#include "graph.h"

namespace petrt::cuda {
namespace {

using Recorded = Owned<cudaGraph_t, give_back>;

// The capture is thread-local: during it other threads may allocate and wait, this one may not.
Recorded record(const Stream& stream, const std::function<void()>& enqueue) {
  const Recording recording;
  check_cuda(cudaStreamBeginCapture(stream.handle(), cudaStreamCaptureModeThreadLocal),
             "cudaStreamBeginCapture");
  cudaGraph_t graph = nullptr;
  try {
    enqueue();
  } catch (...) {  // this error is the cause of a broken recording
    (void)cudaStreamEndCapture(stream.handle(), &graph);
    (void)cudaGetLastError();
    const Recorded dropped(graph);
    throw;
  }
  const cudaError_t status = cudaStreamEndCapture(stream.handle(), &graph);
  Recorded recorded(graph);
  check_cuda(status, "cudaStreamEndCapture");
  return recorded;
}

}  // namespace

Graph::Graph(const Stream& stream, const std::function<void()>& enqueue) {
  const OnDevice current(stream.device());
  const Recorded recorded = record(stream, enqueue);
  cudaGraphExec_t exec = nullptr;
  check_cuda(cudaGraphInstantiate(&exec, recorded.get(), 0), "cudaGraphInstantiate");
  exec_ = Owned<cudaGraphExec_t, give_back>(exec);
}

void Graph::launch(const Stream& stream) const {
  const OnDevice current(stream.device());
  check_cuda(cudaGraphLaunch(exec_.get(), stream.handle()), "cudaGraphLaunch");
}

}  // namespace petrt::cuda
