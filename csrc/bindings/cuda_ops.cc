#include <optional>

#include "../cuda/ops.h"
#include "cuda_arrays.h"
#include "petrt/loop_table.h"

namespace petrt::cuda {
namespace {

using Object = py::object;

// Enqueues work with the stream's device current and the GIL released.
template <typename Work>
void enqueue_on(const Stream& stream, const Work& work) {
  const py::gil_scoped_release released;
  const OnDevice current(stream.device());
  work();
}

Index product(const std::vector<Index>& shape, std::size_t from = 0) {
  Index size = 1;
  for (std::size_t axis = from; axis < shape.size(); ++axis) size *= shape[axis];
  return size;
}

void bind_stack_slices(const Object& planes, Index first_plane, Index first, Index depth,
                       const Object& x, const Object& nas, const Stream& stream) {
  const Borrowed in(planes, "planes", stream), centre(x, "x", stream), stack(nas, "nas", stream);
  const auto from = in.view<const float, 3>("[P, H, W]");
  const auto slices = centre.view<float, 4>("[B, 1, H, W]");
  const auto stacked = stack.view<float, 4>("[B, 5, H, W]");
  const Index batch = slices.shape[0], height = from.shape[1], width = from.shape[2];
  check_shape("x", slices, {batch, 1, height, width});
  check_shape("nas", stacked, {batch, kNeighbours, height, width});
  const bool thinner = first == 0 && depth >= 1;  // the volume may be smaller than the batch
  check(first >= 0 && (first <= depth - batch || thinner), "first: expected ", batch,
        " slices within the ", depth,
        " of the volume, or 0 for a thinner one, got first = ", first);
  const Index low = std::max<Index>(0, first - kNeighbours / 2);
  const Index high = std::min(depth, first + batch + kNeighbours / 2);
  const bool there = first_plane <= low && high <= first_plane + from.shape[0];
  check(batch == 0 || there, "planes: expected to hold slices ", low, " .. ", high - 1, ", got ",
        first_plane, " .. ", first_plane + from.shape[0] - 1);
  const Parts parts(batch, height * width, aligned(from.data, slices.data, stacked.data));
  enqueue_on(stream, [&] {
    enqueue(StackSlices{parts, from.data, first_plane, first, depth, slices.data, stacked.data},
            stream.handle());
  });
}

void bind_log_spectrum(const Object& half, const Object& out, const Stream& stream) {
  const Borrowed in(half, "half", stream), image(out, "out", stream);
  const auto transform = in.view<const Complex, 4>("[B, 1, H, W // 2 + 1]");
  const auto shown = image.view<float, 4>("[B, 1, H, W]");
  const Index batch = shown.shape[0], height = shown.shape[2], width = shown.shape[3];
  check(height >= 1 && width >= 1, "out: expected slices of at least 1 x 1, got ", height, " x ",
        width);
  check_shape("out", shown, {batch, 1, height, width});
  check_shape("half", transform, {batch, 1, height, width / 2 + 1});
  enqueue_on(stream, [&] {
    log_spectrum(transform.data, shown.data, batch, height, width, stream.handle());
  });
}

void bind_normals(const Object& seed, Index slice, Index sample, Index step, const Object& out,
                  const Stream& stream, double sigma_z) {
  const SliceWeights weights = checked_weights(sigma_z);
  const NoiseKey key{seed_of(seed), counter_word(slice, "slice"), counter_word(sample, "sample"),
                     counter_word(step, "step")};
  check_ids({key.slice}, 1, weights);
  const Borrowed noise(out, "out", stream);
  const auto z = noise.view<float, 1>("[n]");
  const Parts parts(1, z.shape[0], aligned(z.data));
  enqueue_on(stream, [&] { enqueue(Draw{parts, key, weights, z.data}, stream.handle()); });
}

void bind_reverse_step(const Object& r, const Object& eps, const Object& x0_previous,
                       const std::optional<Object>& noise, const py::array& coefs, float clip,
                       const Stream& stream) {
  const auto row = petrt::view<const double, 1>(coefs, "coefs", "[6]");
  check_shape("coefs", row, {6});
  const StepCoefs k = step_coefs(row.data);
  check(clip > 0.0f, "clip: expected a positive bound, got ", clip);
  check(k.s == 0.0f || noise.has_value(), "noise: expected an array where s is ", k.s,
        ", got None");
  const Borrowed now(r, "r", stream), predicted(eps, "eps", stream);
  const Borrowed before(x0_previous, "x0_previous", stream);
  const auto shape = now.shape();
  const auto z = noise ? std::make_optional<Borrowed>(*noise, "noise", stream) : std::nullopt;
  const float* given = z ? z->data<const float>(shape) : nullptr;
  float* const r_data = now.data<float>();
  const float* const eps_data = predicted.data<const float>(shape);
  float* const x0_data = before.data<float>(shape);
  const Parts parts(1, product(shape), aligned(r_data, eps_data, x0_data, given));
  const NoiseEntry entry{nullptr, nullptr, 1, 0, 0, given, {}};
  enqueue_on(stream, [&] {
    enqueue(Step{parts, k, clip, r_data, eps_data, x0_data, true, entry, {nullptr, nullptr, 0}},
            stream.handle());
  });
}

void bind_average(const Object& r, const Object& coarse, const Object& mean, const Object& m2,
                  const std::optional<Object>& std, Index count, Index used, float sigma_r,
                  const Stream& stream) {
  const Borrowed images(r, "r", stream), base(coarse, "coarse", stream);
  const Borrowed average(mean, "mean", stream), moment(m2, "m2", stream);
  const auto spread = std ? std::make_optional<Borrowed>(*std, "std", stream) : std::nullopt;
  const auto shape = base.shape();
  check(!shape.empty() && shape[0] >= 1, "coarse: expected shape [slices, ...], got ",
        shape_text(shape));
  check(!images.shape().empty() && images.shape()[0] % shape[0] == 0, "r: expected a multiple of ",
        shape[0], " images, got shape ", shape_text(images.shape()));
  const Index samples = images.shape()[0] / shape[0];
  std::vector<Index> all = shape;
  all[0] *= samples;
  check(count >= 0, "count: expected the number of samples already in, got ", count);
  check(used >= 1 && used <= samples, "used: expected 1 to ", samples, " samples, got ", used);
  check_sigma(sigma_r);
  Average body{Parts(shape[0], product(shape, 1), true),
               images.data<const float>(all),
               samples,
               used,
               base.data<const float>(),
               sigma_r,
               average.data<float>(shape),
               moment.data<float>(shape),
               count,
               true,
               spread ? spread->data<float>(shape) : nullptr,
               nullptr,
               0};
  body.parts = Parts(shape[0], product(shape, 1),
                     aligned(body.r, body.coarse, body.mean, body.m2, body.spread));
  enqueue_on(stream, [&] { enqueue(body, stream.handle()); });
}

}  // namespace

void register_device_ops(py::module_& module) {
  using py::arg;
  module.def("stack_slices", &bind_stack_slices, arg("planes"), arg("first_plane"), arg("first"),
             arg("depth"), arg("x"), arg("nas"), arg("stream"));
  module.def("log_spectrum", &bind_log_spectrum, arg("half"), arg("out"), arg("stream"));
  module.def("normals", &bind_normals, arg("seed"), arg("slice"), arg("sample"), arg("step"),
             arg("out"), arg("stream"), arg("sigma_z") = 0.0);
  module.def("reverse_step", &bind_reverse_step, arg("r"), arg("eps"), arg("x0_previous"),
             arg("noise"), arg("coefs"), arg("clip"), arg("stream"));
  module.def("average", &bind_average, arg("r"), arg("coarse"), arg("mean"), arg("m2"), arg("std"),
             arg("count"), arg("used"), arg("sigma_r"), arg("stream"));
}

}  // namespace petrt::cuda
