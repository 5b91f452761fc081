// Takes and returns NumPy arrays without copies or conversions; an array that does not fit is
// refused.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "petrt/check.h"
#include "petrt/step.h"
#include "petrt/view.h"

namespace petrt {

namespace py = pybind11;

void register_native(py::module_& module);
void register_ops(py::module_& module);
void register_reverse_loop(py::module_& module);

inline std::string text(py::handle object) {
  return py::str(object);
}

// The data of a C-contiguous, aligned array of exactly T, writable unless T is const.
template <typename T>
T* data_of(py::array array, const char* name) {
  using Value = std::remove_const_t<T>;
  const py::dtype expected = py::dtype::of<Value>();
  if (!array.dtype().equal(expected)) {
    refuse(name, ": expected dtype ", text(expected), ", got ", text(array.dtype()));
  }
  check((array.flags() & py::array::c_style) != 0, name,
        ": expected a C-contiguous array, got another layout");
  check(reinterpret_cast<std::uintptr_t>(array.data()) % alignof(Value) == 0, name,
        ": expected an aligned array, got an address between elements");
  if constexpr (std::is_const_v<T>) {
    return static_cast<T*>(array.data());
  } else {
    check(array.writeable(), name, ": expected a writable array, got a read-only one");
    return static_cast<T*>(array.mutable_data());
  }
}

inline std::vector<Index> shape_of(const py::array& array) {
  return {array.shape(), array.shape() + array.ndim()};
}

// `axes` names the axes for the message, as in "[B, 1, H, W]".
template <typename T, int Rank>
View<T, Rank> view(const py::array& array, const char* name, const char* axes) {
  if (array.ndim() != Rank) {
    refuse(name, ": expected shape ", axes, ", got ", shape_text(shape_of(array)));
  }
  View<T, Rank> result{data_of<T>(array, name), {}};
  std::copy_n(array.shape(), Rank, result.shape.begin());
  return result;
}

// An array of the given shape, viewed as one axis, for operations on single voxels.
template <typename T>
View<T, 1> flat(const py::array& array, const char* name, const std::vector<Index>& shape) {
  if (shape_of(array) != shape) {
    refuse(name, ": expected shape ", shape_text(shape), ", got ", shape_text(shape_of(array)));
  }
  return {data_of<T>(array, name), {array.size()}};
}

// Any Python or NumPy integer in [0, 2^64).
inline std::uint64_t seed_of(const py::object& seed) {
  const auto integer = py::reinterpret_steal<py::object>(PyNumber_Index(seed.ptr()));
  if (!integer) throw py::error_already_set();
  const std::uint64_t value = PyLong_AsUnsignedLongLong(integer.ptr());
  if (PyErr_Occurred() == nullptr) return value;
  PyErr_Clear();
  refuse("seed: expected 0 <= seed < 2^64, got ", text(integer));
}

// A 32-bit word of the noise counter. Python's ids have 64 bits; truncating them would repeat
// noise.
inline std::uint32_t counter_word(Index value, const char* name) {
  check(value >= 0 && value < Index{1} << 32, name, ": expected 0 <= id < 2^32, got ", value);
  return static_cast<std::uint32_t>(value);
}

inline StepCoefs step_coefs(const double* row) {
  return {static_cast<float>(row[0]), static_cast<float>(row[1]), static_cast<float>(row[2]),
          static_cast<float>(row[3]), static_cast<float>(row[4]), static_cast<float>(row[5])};
}

}  // namespace petrt
