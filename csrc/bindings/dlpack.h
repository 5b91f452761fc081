// The part of DLPack 0.8 that an importer needs (https://dmlc.github.io/dlpack); a stable C layout.
#pragma once

#include <cstdint>

namespace petrt::dlpack {

constexpr int kCpu = 1, kCuda = 2, kCudaHost = 3, kCudaManaged = 13;

struct Device {
  std::int32_t type, id;
};

struct DataType {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null if C-contiguous
  std::uint64_t byte_offset;
};

struct ManagedTensor {
  Tensor tensor;
  void* context;
  void (*deleter)(ManagedTensor*);
};

}  // namespace petrt::dlpack
