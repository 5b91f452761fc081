#define PETRT_NAME "avx2"
#define PETRT_TABLE avx2_kernels
#define PETRT_LANES 8
#define PETRT_ROWS 6
#include "kernels.inl"
