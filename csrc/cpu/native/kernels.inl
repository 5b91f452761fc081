// The kernels of one instruction set, named by the including file: PETRT_NAME, PETRT_TABLE,
// PETRT_LANES (floats in a vector), PETRT_ROWS (rows of a block of registers).
#include "attention.h"
#include "conv.h"
#include "norm.h"
#include "tables.h"

namespace petrt::native {

const Kernels PETRT_TABLE = {
    PETRT_NAME, kLanes,          packed,     pack,     conv_scratch,
    conv,       statistics_scratch, statistics, attention_scratch, attention,
};

}  // namespace petrt::native
