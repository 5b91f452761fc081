// A recorded sequence of launches.
#pragma once

#include <functional>

#include "runtime.h"

namespace petrt::cuda {

class Graph {
 public:
  // What `enqueue` puts on the stream, recorded instead of run. Where enqueue throws or the GPU
  // refuses something, recording ends and the stream is as before.
  Graph(const Stream& stream, const std::function<void()>& enqueue);

  void launch(const Stream& stream) const;

 private:
  Owned<cudaGraphExec_t, give_back> exec_;
};

}  // namespace petrt::cuda
