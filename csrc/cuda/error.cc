#include "error.h"

namespace petrt::cuda {

void fail(cudaError_t status, const std::string& what) {
  (void)cudaGetLastError();  // so that the next check does not report this error again
  std::string message = what + ": " + cudaGetErrorName(status) + ": " + cudaGetErrorString(status);
  int driver = 0;
  if (status == cudaErrorInsufficientDriver && cudaDriverGetVersion(&driver) == cudaSuccess) {
    if (driver == 0) message += " (no NVIDIA driver was found)";
  }
  if (status == cudaErrorMemoryAllocation) throw OutOfMemory(message);
  throw CudaError(message);
}

}  // namespace petrt::cuda
