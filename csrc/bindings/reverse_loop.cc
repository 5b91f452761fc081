#include <memory>
#include <optional>

#include <pybind11/stl.h>

#include "arrays.h"
#include "petrt/loop.h"

namespace petrt {
namespace {

using Array = py::array;

std::unique_ptr<ReverseLoop> make_loop(const Array& coefs, float clip, const Array& film,
                                       Index slices, Index samples, Index height, Index width,
                                       int threads, double sigma_z) {
  const auto table = view<const double, 2>(coefs, "coefs", "[steps, 6]");
  check_shape("coefs", table, {table.shape[0], 6});
  std::vector<StepCoefs> steps;
  for (Index i = 0; i < table.shape[0]; ++i) steps.push_back(step_coefs(table.data + 6 * i));
  return std::make_unique<ReverseLoop>(std::move(steps), clip,
                                       view<const float, 2>(film, "film", "[steps, C]"),
                                       LoopShape{slices, samples, height, width}, sigma_z, threads);
}

LoopNoise loop_noise(const py::object& seed, const Array& slice_ids, Index first_sample,
                     const std::optional<Array>& given) {
  LoopNoise noise;
  noise.seed = seed_of(seed);
  noise.first_sample = counter_word(first_sample, "first_sample");
  const auto ids = view<const Index, 1>(slice_ids, "slice_ids", "[slices]");
  for (Index i = 0; i < ids.shape[0]; ++i) {
    noise.slice_ids.push_back(counter_word(ids.data[i], "slice_ids"));
  }
  if (given) {
    noise.given = view<const float, 6>(*given, "noise", "[steps + 1, slices, samples, 1, H, W]");
  }
  return noise;
}

void run(ReverseLoop& loop, const py::function& enqueue, const py::object& seed,
         const Array& slice_ids, Index first_sample, const std::optional<Array>& noise) {
  const LoopNoise source = loop_noise(seed, slice_ids, first_sample, noise);
  const py::gil_scoped_release released;
  loop.run(
      [&enqueue] {
        const py::gil_scoped_acquire acquired;
        enqueue();
      },
      source);
}

void accumulate(ReverseLoop& loop, const Array& coarse, float sigma_r) {
  const auto images = view<const float, 4>(coarse, "coarse", "[slices, 1, H, W]");
  const py::gil_scoped_release released;
  loop.accumulate(images, sigma_r);
}

void samples(ReverseLoop& loop, const Array& coarse, float sigma_r, const Array& out) {
  const auto images = view<const float, 4>(coarse, "coarse", "[slices, 1, H, W]");
  const auto drawn = view<float, 4>(out, "out", "[slices * samples, 1, H, W]");
  const py::gil_scoped_release released;
  loop.samples(images, sigma_r, drawn);
}

void finish(ReverseLoop& loop, const Array& mean, const std::optional<Array>& std) {
  const auto mean_view = view<float, 4>(mean, "mean", "[slices, 1, H, W]");
  const auto std_view = std ? view<float, 4>(*std, "std", "[slices, 1, H, W]") : View<float, 4>{};
  const py::gil_scoped_release released;
  loop.finish(mean_view, std_view);
}

// A property that returns a buffer of the loop without a copy; the array keeps the loop alive.
template <auto Getter>
Array buffer(const py::object& self) {
  const auto shown = (self.cast<const ReverseLoop&>().*Getter)();
  return py::array_t<float>(shown.shape, shown.data, self);
}

}  // namespace

void register_reverse_loop(py::module_& module) {
  using py::arg;
  py::class_<ReverseLoop>(module, "ReverseLoop")
      .def(py::init(&make_loop), arg("coefs"), arg("clip"), arg("film"), arg("slices"),
           arg("samples"), arg("height"), arg("width"), arg("threads") = 1, arg("sigma_z") = 0.0)
      .def("run", &run, arg("enqueue"), arg("seed"), arg("slice_ids"), arg("first_sample") = 0,
           arg("noise") = py::none())
      .def("accumulate", &accumulate, arg("coarse"), arg("sigma_r"))
      .def("reset", &ReverseLoop::reset)
      .def("samples", &samples, arg("coarse"), arg("sigma_r"), arg("out"))
      .def("finish", &finish, arg("mean"), arg("std") = py::none())
      .def_property_readonly("count", &ReverseLoop::count)
      .def_property_readonly("r", &buffer<&ReverseLoop::r>)
      .def_property_readonly("eps", &buffer<&ReverseLoop::eps>)
      .def_property_readonly("film_row", &buffer<&ReverseLoop::film_row>);
}

}  // namespace petrt
