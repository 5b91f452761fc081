#include "device_array.h"

#include <limits>

#include "petrt/check.h"

namespace petrt::cuda {
namespace {

constexpr Dtype kDtypes[] = {
    {"float32", "<f4", 4, 2}, {"float16", "<f2", 2, 2}, {"bfloat16", "<u2", 2, 4},
    {"float64", "<f8", 8, 2}, {"uint8", "|u1", 1, 1},   {"complex128", "<c16", 16, 5},
};

}  // namespace

const Dtype& dtype_of(const std::string& name) {
  for (const Dtype& dtype : kDtypes) {
    if (name == dtype.name) return dtype;
  }
  refuse("dtype: expected float32, float16, bfloat16, float64, complex128 or uint8, got ", name);
}

std::size_t bytes_of(const std::vector<Index>& shape, const Dtype& dtype) {
  Index bytes = dtype.bytes;
  for (const Index extent : shape) {
    check(extent >= 0, "shape: expected no negative extent, got ", shape_text(shape));
    check(extent == 0 || bytes <= std::numeric_limits<Index>::max() / extent,
          "shape: expected less than 2^63 bytes, got ", shape_text(shape));
    bytes *= extent;
  }
  return static_cast<std::size_t>(bytes);
}

DeviceArray::DeviceArray(std::vector<Index> shape, const Dtype& dtype, int device)
    : shape_(std::move(shape)),
      dtype_(dtype),
      device_(device),
      buffer_(device, bytes_of(shape_, dtype)) {}

Index DeviceArray::size() const {
  Index product = 1;
  for (const Index extent : shape_) product *= extent;
  return product;
}

}  // namespace petrt::cuda
