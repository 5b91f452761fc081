#include <optional>
#include <string>

#include "cuda_arrays.h"

namespace petrt::cuda {
namespace {

using Released = py::gil_scoped_release;

int device_count() {
  int count = 0;
  check_cuda(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
  return count;
}

std::string pci_bus_id(int device) {
  char id[32] = {};
  check_cuda(cudaDeviceGetPCIBusId(id, sizeof id, device), "cudaDeviceGetPCIBusId");
  return id;
}

std::pair<std::size_t, std::size_t> memory(int device) {
  const Released released;
  const OnDevice current(device);
  std::size_t free = 0, total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return {free, total};
}

void wait(const Stream& stream, const py::object& other) {
  const bool ours = py::isinstance<Stream>(other);
  const cudaStream_t earlier =
      ours ? other.cast<const Stream&>().handle() : stream_of(other.cast<std::uintptr_t>());
  const int device = ours ? other.cast<const Stream&>().device() : stream.device();
  const Released released;
  order(earlier, stream.handle(), Event(device));
}

// Milliseconds between two points of a stream.
class Timer {
 public:
  explicit Timer(int device) : device_(device), start_(device, true), stop_(device, true) {}

  void start(const Stream& stream) {
    record(start_, stream);
    started_ = true;
    stopped_ = false;
  }

  void stop(const Stream& stream) {
    check(started_, "stop: expected a start before it");
    record(stop_, stream);
    stopped_ = true;
  }

  float milliseconds() const {
    check(stopped_, "milliseconds: expected a start and a stop before it");
    const Released released;
    stop_.synchronize();
    return stop_.milliseconds_since(start_);
  }

 private:
  void record(const Event& event, const Stream& stream) const {
    check(stream.device() == device_, "stream: expected one on cuda:", device_,
          ", got one on cuda:", stream.device());
    const Released released;
    event.record(stream.handle());
  }

  int device_;
  Event start_, stop_;
  bool started_ = false, stopped_ = false;
};

}  // namespace

void register_device(py::module_& module) {
  using py::arg;
  const auto& error =
      py::register_local_exception<CudaError>(module, "CudaError", PyExc_RuntimeError);
  py::register_local_exception<OutOfMemory>(module, "OutOfMemory", error);
  module.def("device_count", &device_count);
  module.def("pci_bus_id", &pci_bus_id, arg("device") = 0);
  module.def("memory", &memory, arg("device") = 0);
  py::class_<Stream, std::shared_ptr<Stream>>(module, "Stream", py::module_local())
      .def(py::init<int>(), arg("device") = 0, py::call_guard<Released>())
      .def_property_readonly("device", &Stream::device)
      .def_property_readonly(
          "handle",
          [](const Stream& self) { return reinterpret_cast<std::uintptr_t>(self.handle()); })
      .def("synchronize", &Stream::synchronize, py::call_guard<Released>())
      .def("wait", &wait, arg("other"));
  py::class_<Timer>(module, "Timer", py::module_local())
      .def(py::init<int>(), arg("device") = 0)
      .def("start", &Timer::start, arg("stream"))
      .def("stop", &Timer::stop, arg("stream"))
      .def("milliseconds", &Timer::milliseconds);
}

}  // namespace petrt::cuda
