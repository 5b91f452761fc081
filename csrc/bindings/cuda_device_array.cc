#include "cuda_arrays.h"

namespace petrt::cuda {
namespace {

using Released = py::gil_scoped_release;

// NumPy has no bfloat16, so its 16-bit words are used.
py::dtype host_dtype(const Dtype& dtype) {
  return py::dtype(std::string(dtype.typestr));
}

void check_host(const DeviceArray& self, const py::array& host, bool writing) {
  if (shape_of(host) != self.shape()) {
    refuse("host: expected shape ", shape_text(self.shape()), ", got ", shape_text(shape_of(host)));
  }
  if (!host.dtype().equal(host_dtype(self.dtype()))) {
    refuse("host: expected dtype ", text(host_dtype(self.dtype())), ", got ", text(host.dtype()));
  }
  check((host.flags() & py::array::c_style) != 0,
        "host: expected a C-contiguous array, got another layout");
  check(!writing || host.writeable(), "host: expected a writable array, got a read-only one");
}

void move(void* to, const void* from, const DeviceArray& array, cudaMemcpyKind kind,
          const Stream& stream) {
  check(stream.device() == array.device(), "stream: expected one on cuda:", array.device(),
        ", got one on cuda:", stream.device());
  const Released released;
  const OnDevice current(stream.device());
  copy(to, from, static_cast<std::size_t>(array.bytes()), kind, stream.handle());
}

void upload(const DeviceArray& self, const py::array& host, const Stream& stream) {
  check_host(self, host, false);
  move(self.data(), host.data(), self, cudaMemcpyHostToDevice, stream);
}

void download(const DeviceArray& self, py::array host, const Stream& stream) {
  check_host(self, host, true);
  move(host.mutable_data(), self.data(), self, cudaMemcpyDeviceToHost, stream);
}

void copy_from(const DeviceArray& self, const DeviceArray& source, const Stream& stream) {
  if (source.shape() != self.shape()) {
    refuse("source: expected shape ", shape_text(self.shape()), ", got ",
           shape_text(source.shape()));
  }
  check(&source.dtype() == &self.dtype(), "source: expected dtype ", self.dtype().name, ", got ",
        source.dtype().name);
  check(source.device() == self.device(), "source: expected an array on cuda:", self.device(),
        ", got one on cuda:", source.device());
  move(self.data(), source.data(), self, cudaMemcpyDeviceToDevice, stream);
}

py::dict array_interface(const DeviceArray& self) {
  py::dict interface;
  interface["shape"] = py::tuple(py::cast(self.shape()));
  interface["typestr"] = self.dtype().typestr;
  interface["data"] = py::make_tuple(reinterpret_cast<std::uintptr_t>(self.data()), false);
  interface["strides"] = py::none();
  interface["version"] = 3;
  return interface;
}

std::shared_ptr<DeviceArray> make_array(std::vector<Index> shape, const std::string& dtype,
                                        int device) {
  const Released released;
  return std::make_shared<DeviceArray>(std::move(shape), dtype_of(dtype), device);
}

py::array pinned(const std::vector<Index>& shape, const std::string& dtype) {
  const Dtype& type = dtype_of(dtype);
  auto buffer = std::make_unique<PinnedBuffer>(bytes_of(shape, type));
  void* const data = buffer->data();
  const py::capsule owner(buffer.get(),
                          [](void* held) { delete static_cast<PinnedBuffer*>(held); });
  buffer.release();
  return py::array(host_dtype(type), shape, data, owner);
}

}  // namespace

void register_device_array(py::module_& module) {
  using py::arg;
  py::class_<DeviceArray, std::shared_ptr<DeviceArray>>(module, "DeviceArray", py::module_local())
      .def(py::init(&make_array), arg("shape"), arg("dtype") = "float32", arg("device") = 0)
      .def_property_readonly(
          "shape", [](const DeviceArray& self) { return py::tuple(py::cast(self.shape())); })
      .def_property_readonly("dtype", [](const DeviceArray& self) { return self.dtype().name; })
      .def_property_readonly("nbytes", &DeviceArray::bytes)
      .def_property_readonly(
          "ptr",
          [](const DeviceArray& self) { return reinterpret_cast<std::uintptr_t>(self.data()); })
      .def_property_readonly("device", &DeviceArray::device)
      .def_property_readonly("__cuda_array_interface__", &array_interface)
      .def("upload", &upload, arg("host"), arg("stream"))
      .def("download", &download, arg("host"), arg("stream"))
      .def("copy_from", &copy_from, arg("source"), arg("stream"));
  module.def("pinned", &pinned, arg("shape"), arg("dtype") = "float32");
}

}  // namespace petrt::cuda
