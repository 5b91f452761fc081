// A module of the kernels of 16 lanes alone, whatever the CPU.
#include <cstring>

#include "arrays.h"
#include "petrt/native.h"

namespace petrt::native {

extern const Kernels avx512_kernels;

const Kernels* kernels(const char* name) {
  return std::strcmp(name, avx512_kernels.name) == 0 ? &avx512_kernels : nullptr;
}

const Kernels& kernels() {
  return avx512_kernels;
}

}  // namespace petrt::native

PYBIND11_MODULE(_native_wide, module) {
  petrt::register_native(module);
}
