#include "launch.h"
#include "ops.h"

namespace petrt::cuda {

void enqueue(const Start& start, cudaStream_t stream) {
  launch("start", start, stream);
}

void enqueue(const Step& step, cudaStream_t stream) {
  launch("reverse_step", step, stream);
}

void enqueue(const Average& average, cudaStream_t stream) {
  launch("average", average, stream);
}

void enqueue(const StackSlices& stack, cudaStream_t stream) {
  launch("stack_slices", stack, stream);
}

void enqueue(const Draw& draw, cudaStream_t stream) {
  launch("normals", draw, stream);
}

}  // namespace petrt::cuda
