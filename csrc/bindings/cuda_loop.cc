#include <memory>
#include <optional>

#include "../cuda/device_loop.h"
#include "cuda_arrays.h"

namespace petrt::cuda {
namespace {

using Object = py::object;
using Handle = std::optional<std::uintptr_t>;

std::unique_ptr<DeviceLoop> make_loop(const py::array& coefs, float clip, const py::array& film,
                                      Index slices, Index samples, Index height, Index width,
                                      float sigma_r, const std::shared_ptr<Stream>& stream,
                                      double sigma_z, Index kept) {
  check(kept >= 0, "kept: expected at least 0 samples, got ", kept);
  const auto table = petrt::view<const double, 2>(coefs, "coefs", "[steps, 6]");
  check_shape("coefs", table, {table.shape[0], 6});
  std::vector<StepCoefs> steps;
  for (Index i = 0; i < table.shape[0]; ++i) steps.push_back(step_coefs(table.data + 6 * i));
  return std::make_unique<DeviceLoop>(
      std::move(steps), clip, petrt::view<const float, 2>(film, "film", "[steps, C]"),
      LoopShape{slices, samples, height, width}, sigma_r, sigma_z, stream, kept);
}

void set_run(DeviceLoop& loop, const Object& seed, const py::array& slice_ids, Index first_sample) {
  const RunKeys keys{seed_of(seed), counter_word(first_sample, "first_sample"), 0};
  const auto ids = petrt::view<const Index, 1>(slice_ids, "slice_ids", "[slices]");
  std::vector<std::uint32_t> words;
  for (Index i = 0; i < ids.shape[0]; ++i) {
    words.push_back(counter_word(ids.data[i], "slice_ids"));
  }
  const py::gil_scoped_release released;
  loop.set_run(keys, words);
}

std::function<void()> with_gil(const Object& call) {
  return [&call] {
    const py::gil_scoped_acquire acquired;
    if (!call.is_none()) call();
  };
}

DeviceLoop::Caller caller_of(const Handle& handle) {
  return handle ? std::make_optional(stream_of(*handle)) : std::nullopt;
}

void run(DeviceLoop& loop, const Object& prologue, const Object& enqueue, Index total,
         const Object& noise, const Handle& caller) {
  std::optional<Borrowed> given;
  DeviceLoop::Noise view;
  if (!noise.is_none()) {
    given.emplace(noise, "noise", loop.stream());
    view = given->view<const float, 7>("[chunks, steps + 1, slices, samples, 1, H, W]");
  }
  const py::gil_scoped_release released;
  loop.run({with_gil(prologue), with_gil(enqueue)}, total, view, caller_of(caller));
}

void capture(DeviceLoop& loop, const Object& prologue, const Object& enqueue, Index total) {
  const py::gil_scoped_release released;
  loop.capture({with_gil(prologue), with_gil(enqueue)}, total);
}

void replay(DeviceLoop& loop, Index total, const Handle& caller) {
  const py::gil_scoped_release released;
  loop.replay(total, caller_of(caller));
}

}  // namespace

void register_device_loop(py::module_& module) {
  using py::arg;
  py::class_<DeviceLoop>(module, "ReverseLoop", py::module_local())
      .def(py::init(&make_loop), arg("coefs"), arg("clip"), arg("film"), arg("slices"),
           arg("samples"), arg("height"), arg("width"), arg("sigma_r"), arg("stream"),
           arg("sigma_z") = 0.0, arg("kept") = 0)
      .def("set_run", &set_run, arg("seed"), arg("slice_ids"), arg("first_sample") = 0)
      .def("run", &run, arg("prologue"), arg("enqueue"), arg("total"), arg("noise") = py::none(),
           arg("caller") = py::none())
      .def("capture", &capture, arg("prologue"), arg("enqueue"), arg("total"))
      .def("captured", &DeviceLoop::captured, arg("total"))
      .def("replay", &replay, arg("total"), arg("caller") = py::none())
      .def_property_readonly("r", [](const DeviceLoop& self) { return self.r; })
      .def_property_readonly("eps", [](const DeviceLoop& self) { return self.eps; })
      .def_property_readonly("film_row", [](const DeviceLoop& self) { return self.film_row; })
      .def_property_readonly("coarse", [](const DeviceLoop& self) { return self.coarse; })
      .def_property_readonly("mean", [](const DeviceLoop& self) { return self.mean; })
      .def_property_readonly("std", [](const DeviceLoop& self) { return self.deviation; })
      .def_property_readonly("drawn", [](const DeviceLoop& self) { return self.drawn; });
}

}  // namespace petrt::cuda
