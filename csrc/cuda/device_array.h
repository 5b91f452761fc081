// An array in device memory at a fixed address, and its dtypes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "petrt/view.h"
#include "runtime.h"

namespace petrt::cuda {

struct Dtype {
  const char* name;
  const char* typestr;  // of NumPy's array interface; "<u2" for bfloat16, which that lacks
  Index bytes;
  int dlpack_code;  // DLDataTypeCode; its bits are 8 times `bytes`
};

// Throws std::invalid_argument, which lists the names, for an unknown one.
const Dtype& dtype_of(const std::string& name);

class DeviceArray {
 public:
  DeviceArray(std::vector<Index> shape, const Dtype& dtype, int device);

  void* data() const { return buffer_.data(); }
  float* floats() const { return static_cast<float*>(data()); }
  const std::vector<Index>& shape() const { return shape_; }
  const Dtype& dtype() const { return dtype_; }
  int device() const { return device_; }
  Index size() const;
  Index bytes() const { return size() * dtype_.bytes; }

 private:
  std::vector<Index> shape_;
  const Dtype& dtype_;
  int device_;
  DeviceBuffer buffer_;
};

// Bytes of an array; checks its extents and their product.
std::size_t bytes_of(const std::vector<Index>& shape, const Dtype& dtype);

}  // namespace petrt::cuda
