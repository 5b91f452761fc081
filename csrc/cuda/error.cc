#include "error.h"

namespace petrt::cuda {

void fail(cudaError_t status, const std::string& what) {
  (void)cudaGetLastError();  // the next check shall not find this error again
  const std::string message =
      what + ": " + cudaGetErrorName(status) + ": " + cudaGetErrorString(status);
  if (status == cudaErrorMemoryAllocation) throw OutOfMemory(message);
  throw CudaError(message);
}

}  // namespace petrt::cuda
