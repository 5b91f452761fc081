// The kernel of all elementwise bodies, and its launch. Only for .cu files.
#pragma once

#include <cuda_runtime.h>

#include "error.h"
#include "petrt/check.h"
#include "petrt/view.h"

namespace petrt::cuda {

constexpr unsigned kThreads = 256;

template <typename Body>
__global__ void elementwise(const Body body, std::uint32_t count) {
  const std::uint32_t i = blockIdx.x * kThreads + threadIdx.x;
  if (i < count) body(i);
}

template <typename... Expected, typename... Given>
void launch_kernel(const char* name, void (*kernel)(Expected...), unsigned blocks,
                   cudaStream_t stream, const Given&... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(blocks);
  config.blockDim = dim3(kThreads);
  config.stream = stream;
  check_cuda(cudaLaunchKernelEx(&config, kernel, arguments...), "launch of ", name);
}

// Enqueues body(i) for every i below body.count().
template <typename Body>
void launch(const char* name, const Body& body, cudaStream_t stream) {
  const Index count = body.count();
  check(count < Index{1} << 31, name, ": expected less than 2^31 groups of voxels, got ", count);
  if (count == 0) return;
  const Index blocks = (count + kThreads - 1) / kThreads;
  launch_kernel(name, elementwise<Body>, static_cast<unsigned>(blocks), stream, body,
                static_cast<std::uint32_t>(count));
}

}  // namespace petrt::cuda
