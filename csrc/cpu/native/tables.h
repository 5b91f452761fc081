// The tables of kernels that this build has; each is only to be used where the CPU has the
// instructions.
#pragma once

#include "petrt/native.h"

namespace petrt::native {

extern const Kernels generic_kernels;
#ifdef PETRT_X86
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
#endif

}  // namespace petrt::native
