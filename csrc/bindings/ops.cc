#include "petrt/ops.h"

#include <pybind11/complex.h>
#include <pybind11/stl.h>

#include <complex>
#include <optional>

#include "arrays.h"
#include "petrt/loop_table.h"
#include "petrt/noise.h"

namespace petrt {
namespace {

using Array = py::array;
using Released = py::gil_scoped_release;

void bind_stack_slices(const Array& volume, Index first, const Array& out, int threads) {
  const auto in = view<const float, 3>(volume, "volume", "[Z, H, W]");
  const auto stacked = view<float, 4>(out, "out", "[B, 5, H, W]");
  const Released released;
  stack_slices(in, first, stacked, threads);
}

void bind_normals(const py::object& seed, Index slice, Index sample, Index step, const Array& out,
                  int threads, double sigma_z) {
  const std::uint64_t key = seed_of(seed);
  const std::uint32_t id = counter_word(slice, "slice");
  const SliceWeights weights = checked_weights(sigma_z);
  check_ids({id}, 1, weights);
  const std::uint32_t number = counter_word(sample, "sample");
  const std::uint32_t entry = counter_word(step, "step");
  const auto z = view<float, 1>(out, "out", "[n]");
  const Released released;
  normals(key, {&id, {1}}, number, entry, weights, {z.data, {1, 1, z.shape[0]}}, threads);
}

std::vector<float> bind_slice_weights(double sigma_z) {
  const SliceWeights weights = checked_weights(sigma_z);
  return {weights.w, weights.w + weights.reach + 1};
}

std::array<std::uint32_t, 4> bind_philox(const std::array<std::uint32_t, 4>& counter,
                                         const std::array<std::uint32_t, 2>& key) {
  const Words words =
      philox4x32_10({{counter[0], counter[1], counter[2], counter[3]}}, key[0], key[1]);
  return {words.w[0], words.w[1], words.w[2], words.w[3]};
}

void bind_reverse_step(const Array& r, const Array& eps, const Array& x0_previous,
                       const std::optional<Array>& noise, const Array& coefs, float clip,
                       int threads) {
  const auto shape = shape_of(r);
  const auto row = view<const double, 1>(coefs, "coefs", "[6]");
  check_shape("coefs", row, {6});
  const StepCoefs k = step_coefs(row.data);
  check(clip > 0.0f, "clip: expected a positive bound, got ", clip);
  check(k.s == 0.0f || noise.has_value(), "noise: expected an array where s is ", k.s,
        ", got None");
  const auto r_view = flat<float>(r, "r", shape);
  const auto eps_view = flat<const float>(eps, "eps", shape);
  const auto x0_view = flat<float>(x0_previous, "x0_previous", shape);
  const auto z = noise ? flat<const float>(*noise, "noise", shape) : View<const float, 1>{};
  const Released released;
  reverse_step(r_view, eps_view, x0_view, z, k, clip, threads);
}

void bind_log_spectrum(const Array& half, const Array& out, int threads) {
  const auto transform = view<const std::complex<double>, 4>(half, "half", "[B, 1, H, W // 2 + 1]");
  const auto shown = view<float, 4>(out, "out", "[B, 1, H, W]");
  const View<const Complex, 4> in{reinterpret_cast<const Complex*>(transform.data),
                                  transform.shape};  // both types are two doubles
  const Released released;
  log_spectrum(in, shown, threads);
}

void bind_smooth_axis(const Array& volume, const Array& weights, const Array& out, int threads) {
  const auto in = view<const float, 3>(volume, "volume", "[outer, n, inner]");
  const auto filter = view<const double, 1>(weights, "weights", "[radius + 1]");
  const auto smooth = view<float, 3>(out, "out", "[outer, n, inner]");
  const Released released;
  smooth_axis(in, filter, smooth, threads);
}

}  // namespace

void register_ops(py::module_& module) {
  using py::arg;
  module.def("stack_slices", &bind_stack_slices, arg("volume"), arg("first"), arg("out"),
             arg("threads") = 1);
  module.def("log_spectrum", &bind_log_spectrum, arg("half"), arg("out"), arg("threads") = 1);
  module.def("smooth_axis", &bind_smooth_axis, arg("volume"), arg("weights"), arg("out"),
             arg("threads") = 1);
  module.def("slice_weights", &bind_slice_weights, arg("sigma_z"));
  // The operations inside ReverseLoop, one by one, for the tests.
  module.def("normals", &bind_normals, arg("seed"), arg("slice"), arg("sample"), arg("step"),
             arg("out"), arg("threads") = 1, arg("sigma_z") = 0.0);
  module.def("philox4x32_10", &bind_philox, arg("counter"), arg("key"));
  module.def("reverse_step", &bind_reverse_step, arg("r"), arg("eps"), arg("x0_previous"),
             arg("noise"), arg("coefs"), arg("clip"), arg("threads") = 1);
}

}  // namespace petrt
