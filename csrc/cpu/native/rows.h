// Reads a convolution's input with norm, SiLU and upsampling, and zeros around the image.
#pragma once

#include "simd.h"

namespace petrt::native {
namespace {

// One pixel: to[channels] = from * scale + shift, followed by SiLU if Silu.
template <bool Silu>
inline void normalised(const float* from, const float* scale, const float* shift, Index channels,
                       float* to) {
  Index c = 0;
  for (; c + kLanes <= channels; c += kLanes) {
    const Full value = load(from + c) * load(scale + c) + load(shift + c);
    store(to + c, Silu ? silu(value) : value);
  }
  if (c < channels) {
    const Index rest = channels - c;
    const Full value =
        load_some(from + c, rest) * load_some(scale + c, rest) + load_some(shift + c, rest);
    store_some(to + c, Silu ? silu(value) : value, rest);
  }
}

// Copies one pixel of the channels-last image n to `to`, normalised.
inline void read_pixel(const Conv& task, Index n, const float* from, float* to) {
  const Index channels = task.x.channels;
  if (task.norm.scale == nullptr) {
    std::memcpy(to, from, static_cast<std::size_t>(channels) * sizeof(float));
    return;
  }
  const float* scale = task.norm.scale + n * channels;
  const float* shift = task.norm.shift + n * channels;
  if (task.norm.silu) {
    normalised<true>(from, scale, shift, channels, to);
  } else {
    normalised<false>(from, scale, shift, channels, to);
  }
}

// Copies row y of image n to `to`: `width` pixels from one left of the image on, with zeros
// outside.
inline void read_row(const Conv& task, Index n, Index y, Index width, float* to) {
  const Index channels = task.x.channels, up = task.upsample ? 1 : 0;
  const Index image_width = task.x.width << up;
  const std::size_t row_bytes = static_cast<std::size_t>(width * channels) * sizeof(float);
  if (y < 0 || y >= task.x.height << up) {
    std::memset(to, 0, row_bytes);
    return;
  }
  const std::size_t pixel_bytes = static_cast<std::size_t>(channels) * sizeof(float);
  std::memset(to, 0, pixel_bytes);
  const Index inside = smaller(image_width, width - 1);
  for (Index x = 0; x < inside; ++x) {
    float* pixel = to + (x + 1) * channels;
    if (up != 0 && (x & 1) != 0) {
      std::memcpy(pixel, pixel - channels, pixel_bytes);
    } else {
      read_pixel(task, n, at(task.x, n, y >> up, x >> up), pixel);
    }
  }
  std::memset(to + (inside + 1) * channels, 0,
              static_cast<std::size_t>(width - 1 - inside) * pixel_bytes);
}

// The addresses of the output and of the addends at pixel (y, x) of image n.
struct Place {
  float* to;
  const float* row;
  const float* first;
  const float* second;

  Place(const Conv& task, Index n, Index y, Index x)
      : to(at(task.y, n, y, x)),
        row(task.row == nullptr ? nullptr : task.row + n * task.row_image),
        first(task.adds < 1 ? nullptr : at(task.add[0], n / task.repeat[0], y, x)),
        second(task.adds < 2 ? nullptr : at(task.add[1], n / task.repeat[1], y, x)) {}

  // The sum of the biases, the same for all pixels of an image.
  template <bool Whole>
  Full biases(const Conv& task, Index channel, Index count) const {
    Full sum = {};
    if (task.bias != nullptr) sum = load_some<Whole>(task.bias + channel, count);
    if (row != nullptr) sum += load_some<Whole>(row + channel, count);
    return sum;
  }

  // Writes `value` plus the addends to the pixel `down` rows and `right` pixels from here.
  template <bool Whole>
  void write(const Conv& task, Full value, Index down, Index right, Index channel,
             Index count) const {
    if (first != nullptr) {
      const Tensor& add = task.add[0];
      value += load_some<Whole>(first + down * add.row + right * add.pixel + channel, count);
    }
    if (second != nullptr) {
      const Tensor& add = task.add[1];
      value += load_some<Whole>(second + down * add.row + right * add.pixel + channel, count);
    }
    store_some<Whole>(to + down * task.y.row + right * task.y.pixel + channel, value, count);
  }
};

}  // namespace
}  // namespace petrt::native
