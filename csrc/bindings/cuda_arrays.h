// Takes device arrays of any library without copies or conversions; others are refused.
#pragma once

#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <vector>

#include "../cuda/device_array.h"
#include "arrays.h"
#include "petrt/spectrum.h"

namespace petrt::cuda {

void register_device(py::module_& module);
void register_device_array(py::module_& module);
void register_device_ops(py::module_& module);
void register_device_loop(py::module_& module);

// An array on the device of `stream`, during a call. Work enqueued on the stream from now on runs
// after the owner's earlier work on the array, if the owner gives its stream.
class Borrowed {
 public:
  Borrowed(const py::object& object, const char* name, const Stream& stream);

  const std::vector<Index>& shape() const { return shape_; }

  // The address of C-contiguous, aligned elements of exactly T, writable unless T is const.
  template <typename T>
  T* data() const {
    using Value = std::remove_const_t<T>;
    check_data(name_of(static_cast<Value*>(nullptr)), alignof(Value), !std::is_const_v<T>);
    return static_cast<T*>(data_);
  }

  // `axes` names the axes for the message, as in "[B, 1, H, W]".
  template <typename T, int Rank>
  View<T, Rank> view(const char* axes) const {
    if (shape_.size() != Rank) {
      refuse(name_, ": expected shape ", axes, ", got ", shape_text(shape_));
    }
    View<T, Rank> result{data<T>(), {}};
    std::copy_n(shape_.begin(), Rank, result.shape.begin());
    return result;
  }

  // The elements of an array of the given shape.
  template <typename T>
  T* data(const std::vector<Index>& expected) const {
    if (shape_ != expected) {
      refuse(name_, ": expected shape ", shape_text(expected), ", got ", shape_text(shape_));
    }
    return data<T>();
  }

 private:
  static const char* name_of(const float*) { return "float32"; }
  static const char* name_of(const Complex*) { return "complex128"; }

  void from_array(const DeviceArray& array);
  void from_dlpack(const py::object& object);
  void from_interface(const py::dict& interface);
  void check_device(int device) const;
  void check_data(const char* dtype, std::size_t alignment, bool writing) const;
  void wait_for(std::uintptr_t handle) const;

  const char* name_;
  const Stream& stream_;
  void* data_ = nullptr;
  std::vector<Index> shape_;
  std::string dtype_;
  bool contiguous_ = true, read_only_ = false;
  std::shared_ptr<void> owner_;
};

inline cudaStream_t stream_of(std::uintptr_t handle) {
  return reinterpret_cast<cudaStream_t>(handle);
}

}  // namespace petrt::cuda
