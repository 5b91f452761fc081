// check_cuda checks every call of the CUDA runtime except those of destructors.
#pragma once

#include <cuda_runtime_api.h>

#include <sstream>
#include <stdexcept>
#include <string>

namespace petrt::cuda {

class CudaError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

class OutOfMemory : public CudaError {
  using CudaError::CudaError;
};

// Throws "what: cudaErrorName: description" and clears the error if the runtime allows that.
[[noreturn]] void fail(cudaError_t status, const std::string& what);

template <typename... Parts>
void check_cuda(cudaError_t status, const Parts&... what) {
  if (status == cudaSuccess) return;
  std::ostringstream text;
  (text << ... << what);
  fail(status, text.str());
}

}  // namespace petrt::cuda
