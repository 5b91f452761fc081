// The kernels of one instruction set. The including file defines PETRT_NAME, PETRT_TABLE,
// PETRT_LANES (floats in a vector) and PETRT_ROWS (rows of a register block).
#include "attention.h"
#include "conv.h"
#include "norm.h"
#include "tables.h"

namespace petrt::native {

const Kernels PETRT_TABLE = {
    PETRT_NAME,        kLanes,    packed, pack, conv_scratch, conv, statistics_scratch, statistics,
    attention_scratch, attention,
};

}  // namespace petrt::native
