#define PETRT_NAME "generic"
#define PETRT_TABLE generic_kernels
#define PETRT_LANES 4
#define PETRT_ROWS 6
#include "kernels.inl"
