#define PETRT_NAME "avx512"
#define PETRT_TABLE avx512_kernels
#define PETRT_LANES 16
#define PETRT_ROWS 12
#include "kernels.inl"
