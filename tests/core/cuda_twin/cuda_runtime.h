// What a .cu file needs besides the runtime: kernels as plain functions, launched block by block.
#pragma once

#include <functional>

#include "cuda_runtime_api.h"

#define __global__
#define __shared__ static  // blocks run one after another

struct dim3 {
  unsigned x, y = 1, z = 1;

  dim3(unsigned x_ = 1) : x(x_) {}
};

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

extern thread_local dim3 blockIdx, threadIdx;

// Every thread of the block gets here before any goes on.
void __syncthreads();

// Enqueues thread() for every thread of every block.
cudaError_t twin_launch(const cudaLaunchConfig_t& config, std::function<void()> thread);

template <typename... Expected, typename... Given>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Expected...),
                               const Given&... arguments) {
  return twin_launch(*config, [=] { kernel(arguments...); });
}
