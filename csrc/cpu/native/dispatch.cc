#include <cstring>

#include "petrt/native.h"
#include "tables.h"

namespace petrt::native {
namespace {

bool runs(const Kernels& table) {
#ifdef PETRT_X86
  if (&table == &avx512_kernels) return __builtin_cpu_supports("avx512f") != 0;
  if (&table == &avx2_kernels) {
    return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  }
#endif
  return &table == &generic_kernels;
}

const Kernels* const kTables[] = {
#ifdef PETRT_X86
    &avx512_kernels,
    &avx2_kernels,
#endif
    &generic_kernels,
};

}  // namespace

const Kernels* kernels(const char* name) {
  for (const Kernels* table : kTables) {
    if (std::strcmp(table->name, name) == 0) return runs(*table) ? table : nullptr;
  }
  return nullptr;
}

const Kernels& kernels() {
  for (const Kernels* table : kTables) {
    if (runs(*table)) return *table;
  }
  return generic_kernels;
}

}  // namespace petrt::native
