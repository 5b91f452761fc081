#include "petrt/native.h"

#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "petrt/program.h"

namespace petrt {
namespace {

using native::Kernels;
using native::Tensor;
using Released = py::gil_scoped_release;

const Kernels& kernels_named(const std::optional<std::string>& name) {
  if (!name) return native::kernels();
  const Kernels* found = native::kernels(name->c_str());
  check(found != nullptr, "kernels: this CPU has none named ", *name);
  return *found;
}

Index elements(Index bytes, const char* name) {
  check(bytes % Index{sizeof(float)} == 0, name, ": expected strides of whole elements, got ",
        bytes);
  return bytes / Index{sizeof(float)};
}

// A float32 array [images, height, width, channels] with any strides.
Tensor tensor(const py::array& array, const char* name, bool writable = false) {
  check(array.dtype().equal(py::dtype::of<float>()), name, ": expected dtype float32, got ",
        text(array.dtype()));
  check(array.ndim() == 4 && array.size() > 0, name,
        ": expected shape [images, height, width, channels], got ", shape_text(shape_of(array)));
  check(reinterpret_cast<std::uintptr_t>(array.data()) % alignof(float) == 0, name,
        ": expected an aligned array");
  check(!writable || array.writeable(), name, ": expected a writable array, got a read-only one");
  Tensor t;
  t.data = static_cast<float*>(const_cast<void*>(array.data()));
  t.images = array.shape(0), t.height = array.shape(1);
  t.width = array.shape(2), t.channels = array.shape(3);
  t.image = elements(array.strides(0), name), t.row = elements(array.strides(1), name);
  t.pixel = elements(array.strides(2), name), t.channel = elements(array.strides(3), name);
  return t;
}

// Vector loads run over the channels, so these must be adjacent in memory.
Tensor channels_last(const py::array& array, const char* name, bool writable = false) {
  const Tensor t = tensor(array, name, writable);
  check(t.channel == 1 || t.channels == 1, name, ": expected channels side by side");
  return t;
}

const float* values(const std::optional<py::array>& array, const char* name, Index count) {
  if (!array) return nullptr;
  check(array->size() == count, name, ": expected ", count, " values, got ",
        shape_text(shape_of(*array)));
  return data_of<const float>(*array, name);
}

void check_same(const char* name, const Tensor& t, const Tensor& like) {
  check(t.height == like.height && t.width == like.width && t.channels == like.channels &&
            t.images > 0 && like.images % t.images == 0,
        name, ": expected the shape of y, or fewer images that divide y's");
}

// A Program with the arrays that its tasks point to.
class BoundProgram {
 public:
  explicit BoundProgram(const std::optional<std::string>& name)
      : kernels_(kernels_named(name)), program_(kernels_) {}

  void conv(const py::array& x, const py::array& y, const py::array& weights, int kernel,
            int stride, bool winograd, const std::optional<py::array>& bias,
            const std::optional<std::pair<py::array, py::array>>& norm, bool silu, bool upsample,
            const std::optional<py::array>& row, const std::vector<py::array>& addends) {
    native::Conv task;
    task.x = tensor(x, "x"), task.y = channels_last(y, "y", true);
    task.kernel = kernel, task.stride = stride;
    task.winograd = winograd, task.upsample = upsample;
    check(task.x.channel == 1 || (!winograd && !norm), "x: expected channels side by side");
    check((kernel == 1 || kernel == 3) && (stride == 1 || stride == 2),
          "conv: expected kernel 1 or 3 and stride 1 or 2, got ", kernel, " and ", stride);
    check(!winograd || (kernel == 3 && stride == 1), "winograd: is for kernel 3, stride 1");
    check(!upsample || winograd, "upsample: is for Winograd's convolutions");
    const Index high = task.x.height * (upsample ? 2 : 1), wide = task.x.width * (upsample ? 2 : 1);
    check(task.y.images == task.x.images && task.y.height == (high - 1) / stride + 1 &&
              task.y.width == (wide - 1) / stride + 1,
          "y: expected the size that the convolution of x has, got ", shape_text(shape_of(y)));
    task.weights = values(weights, "weights",
                          kernels_.packed(task.x.channels, task.y.channels, kernel, winograd));
    task.bias = values(bias, "bias", task.y.channels);
    if (norm) {
      const Index count = task.x.images * task.x.channels;
      task.norm = {values(norm->first, "scale", count), values(norm->second, "shift", count), silu};
    }
    if (row) set_row(task, *row);
    check(addends.size() <= 2, "addends: expected at most 2, got ", addends.size());
    for (const py::array& each : addends) {
      const Tensor t = channels_last(each, "addend");
      check_same("addend", t, task.y);
      task.add[task.adds] = t;
      task.repeat[task.adds++] = task.y.images / t.images;
    }
    keep(x, y, weights, bias, norm, row, addends);
    program_.add(task);
  }

  void statistics(const py::array& x, const py::array& weight, const py::array& bias, Index groups,
                  float epsilon, const py::array& scale, const py::array& shift) {
    native::Statistics task;
    task.x = channels_last(x, "x");
    const Index channels = task.x.channels, count = task.x.images * channels;
    check(groups > 0 && channels % groups == 0, "groups: expected a divisor of ", channels,
          ", got ", groups);
    task.weight = values(weight, "weight", channels), task.bias = values(bias, "bias", channels);
    task.groups = groups, task.epsilon = epsilon;
    check(scale.size() == count && shift.size() == count, "scale, shift: expected ", count,
          " values");
    task.scale = data_of<float>(scale, "scale"), task.shift = data_of<float>(shift, "shift");
    keep(x, weight, bias, scale, shift);
    program_.add(task);
  }

  void attention(const py::array& qkv, const py::array& y, float scale) {
    native::Attention task;
    task.qkv = channels_last(qkv, "qkv"), task.y = channels_last(y, "y", true);
    task.scale = scale;
    check(task.qkv.channels == 3 * task.y.channels && task.qkv.images == task.y.images &&
              task.qkv.height == task.y.height && task.qkv.width == task.y.width &&
              task.qkv.row == task.qkv.width * task.qkv.pixel,
          "qkv: expected even rows and three times the channels of y, got ",
          shape_text(shape_of(qkv)));
    keep(qkv, y);
    program_.add(task);
  }

  void dose_row(const py::array& dose, float scale, const py::array& weight, const py::array& bias,
                const py::array& row) {
    native::DoseRow task;
    task.images = dose.size(), task.channels = weight.size(), task.scale = scale;
    task.dose = data_of<const float>(dose, "dose");
    task.weight = values(weight, "weight", task.channels);
    task.bias = values(bias, "bias", task.channels);
    check(row.size() == task.images * task.channels, "row: expected ", task.images, " x ",
          task.channels, " values");
    task.row = data_of<float>(row, "row");
    keep(dose, weight, bias, row);
    program_.add(task);
  }

  void copy(const py::array& x, const py::array& y) {
    const native::Copy task{tensor(x, "x"), tensor(y, "y", true)};
    check_same("x", task.x, task.y);
    check(task.x.images == task.y.images, "x: expected as many images as y");
    keep(x, y);
    program_.add(task);
  }

  void sum(const py::array& x, const py::array& addend, const py::array& y) {
    native::Sum task{tensor(x, "x"), tensor(y, "y", true), tensor(addend, "addend"), 1};
    check_same("x", task.x, task.y);
    check_same("addend", task.addend, task.y);
    check(task.x.images == task.y.images, "x: expected as many images as y");
    task.repeat = task.y.images / task.addend.images;
    keep(x, addend, y);
    program_.add(task);
  }

  void run(int threads) {
    check(threads >= 1 && threads <= 1024, "threads: expected 1 to 1024, got ", threads);
    const Released released;
    program_.run(threads);
  }

  std::size_t scratch_bytes() const { return program_.scratch_bytes(); }

 private:
  static void set_row(native::Conv& task, const py::array& row) {
    check(row.ndim() == 2 && row.shape(1) == task.y.channels &&
              (row.shape(0) == 1 || row.shape(0) == task.y.images),
          "row: expected [1 or images, channels of y], got ", shape_text(shape_of(row)));
    check(row.dtype().equal(py::dtype::of<float>()) && row.strides(1) == Index{sizeof(float)},
          "row: expected float32, side by side");
    task.row = static_cast<const float*>(row.data());
    task.row_image = row.shape(0) == 1 ? 0 : elements(row.strides(0), "row");
  }

  template <typename... Arrays>
  void keep(const Arrays&... arrays) {
    (kept_.append(arrays), ...);
  }

  const Kernels& kernels_;
  native::Program program_;
  py::list kept_;
};

Index bind_packed(Index in, Index out, int kernel, bool winograd,
                  const std::optional<std::string>& name) {
  return kernels_named(name).packed(in, out, kernel, winograd);
}

void bind_pack(const py::array& weights, bool winograd, const py::array& packed,
               const std::optional<std::string>& name) {
  const auto w = view<const float, 4>(weights, "weights", "[out, in, kernel, kernel]");
  const Kernels& kernels = kernels_named(name);
  const int kernel = static_cast<int>(w.shape[2]);
  check(w.shape[2] == w.shape[3] && (kernel == 1 || kernel == 3) && (!winograd || kernel == 3),
        "weights: expected kernels 1 x 1 or 3 x 3, got ", shape_text(shape_of(weights)));
  check(packed.size() == kernels.packed(w.shape[1], w.shape[0], kernel, winograd),
        "packed: expected the size that native_packed gives, got ", packed.size());
  float* const to = data_of<float>(packed, "packed");
  const Released released;
  kernels.pack(w.data, w.shape[1], w.shape[0], kernel, winograd, to);
}

}  // namespace

void register_native(py::module_& module) {
  using py::arg;
  module.def("native_kernels", [] { return std::string(native::kernels().name); });
  module.def("native_packed", &bind_packed, arg("inputs"), arg("outputs"), arg("kernel"),
             arg("winograd"), arg("kernels") = py::none());
  module.def("native_pack", &bind_pack, arg("weights"), arg("winograd"), arg("packed"),
             arg("kernels") = py::none());
  py::class_<BoundProgram>(module, "NativeProgram")
      .def(py::init<const std::optional<std::string>&>(), arg("kernels") = py::none())
      .def("conv", &BoundProgram::conv, arg("x"), arg("y"), arg("weights"), py::kw_only(),
           arg("kernel"), arg("stride"), arg("winograd"), arg("bias") = py::none(),
           arg("norm") = py::none(), arg("silu") = false, arg("upsample") = false,
           arg("row") = py::none(), arg("addends") = std::vector<py::array>{})
      .def("statistics", &BoundProgram::statistics, arg("x"), arg("weight"), arg("bias"),
           arg("groups"), arg("epsilon"), arg("scale"), arg("shift"))
      .def("attention", &BoundProgram::attention, arg("qkv"), arg("y"), arg("scale"))
      .def("dose_row", &BoundProgram::dose_row, arg("dose"), arg("scale"), arg("weight"),
           arg("bias"), arg("row"))
      .def("copy", &BoundProgram::copy, arg("x"), arg("y"))
      .def("sum", &BoundProgram::sum, arg("x"), arg("addend"), arg("y"))
      .def("run", &BoundProgram::run, arg("threads") = 1)
      .def_property_readonly("scratch_bytes", &BoundProgram::scratch_bytes);
}

}  // namespace petrt
