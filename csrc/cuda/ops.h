// The operations, enqueued on a stream of the current device. The callers check shapes and
// addresses; kernels.h and spectrum.h define each operation.
#pragma once

#include <cuda_runtime_api.h>

#include "petrt/kernels.h"
#include "petrt/spectrum.h"
#include "petrt/view.h"

namespace petrt::cuda {

void enqueue(const Start& start, cudaStream_t stream);
void enqueue(const Step& step, cudaStream_t stream);
void enqueue(const Average& average, cudaStream_t stream);
void enqueue(const StackSlices& stack, cudaStream_t stream);
void enqueue(const Draw& draw, cudaStream_t stream);

// half [B, H, W / 2 + 1] to out [B, H, W]
void log_spectrum(const Complex* half, float* out, Index batch, Index height, Index width,
                  cudaStream_t stream);

template <typename... T>
bool aligned(const T*... addresses) {
  return (... && (reinterpret_cast<std::uintptr_t>(addresses) % 16 == 0));
}

}  // namespace petrt::cuda
