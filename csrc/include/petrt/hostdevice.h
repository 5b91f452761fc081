// Functions marked PETRT_HD are compiled for the CPU and, by nvcc, for the GPU.
#pragma once

#ifdef __CUDACC__
#define PETRT_HD __host__ __device__
#else
#define PETRT_HD
#endif
