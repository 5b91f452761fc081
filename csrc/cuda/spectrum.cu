// One block computes the spectrum of one slice: first its range over all threads, then each voxel.
#include "launch.h"
#include "ops.h"

namespace petrt::cuda {
namespace {

__global__ void spectrum_of_slices(const Complex* half, float* out, Index height, Index width) {
  __shared__ double low[kThreads], high[kThreads];
  const Index size = height * (width / 2 + 1), slice = blockIdx.x;
  const SliceSpectrum spectrum{half + slice * size, out + slice * height * width, height, width};
  const unsigned thread = threadIdx.x;
  Range powers;
  for (Index i = thread; i < size; i += kThreads) powers.add(spectrum.power(i));
  low[thread] = powers.low;
  high[thread] = powers.high;
  for (unsigned step = kThreads / 2; step > 0; step /= 2) {
    __syncthreads();
    if (thread >= step) continue;
    powers.add({low[thread + step], high[thread + step]});
    low[thread] = powers.low;
    high[thread] = powers.high;
  }
  __syncthreads();
  powers = {low[0], high[0]};
  for (Index i = thread; i < size; i += kThreads) spectrum.write(i, powers);
}

}  // namespace

void log_spectrum(const Complex* half, float* out, Index batch, Index height, Index width,
                  cudaStream_t stream) {
  if (batch == 0) return;
  check(batch < Index{1} << 31, "log_spectrum: expected less than 2^31 slices, got ", batch);
  launch_kernel("log_spectrum", spectrum_of_slices, static_cast<unsigned>(batch), stream, half, out,
                height, width);
}

}  // namespace petrt::cuda
