// A recorded sequence of launches.
#pragma once

#include <functional>

#include "runtime.h"

namespace petrt::cuda {

class Graph {
 public:
  // Records the work that `enqueue` puts on the stream instead of running it. If enqueue throws or
  // the GPU refuses something, recording ends and the stream stays usable.
  Graph(const Stream& stream, const std::function<void()>& enqueue);

  void launch(const Stream& stream) const;

 private:
  Owned<cudaGraphExec_t, give_back> exec_;
};

}  // namespace petrt::cuda
