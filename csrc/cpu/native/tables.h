// The tables of kernels in this build. A table may only be used if the CPU has its instructions.
#pragma once

#include "petrt/native.h"

namespace petrt::native {

extern const Kernels generic_kernels;
#ifdef PETRT_X86
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
#endif

}  // namespace petrt::native
