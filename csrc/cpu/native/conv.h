// Convolutions: 3x3 of stride 1 by Winograd's tiles, all others as one matrix product a block of pixels.
#pragma once

#include "gemm.h"
#include "rows.h"
#include "winograd.h"

namespace petrt::native {
namespace {

inline constexpr Index kBlockTiles = 48;   // rows of a Winograd product: weights are read once for all
inline constexpr Index kBlockPixels = 96;  // rows of the other products
inline constexpr Index kPad = 16;          // floats that keep the 36 planes off each other's cache sets

inline Index padded_columns(Index channels) {
  return rounded_up(channels, kColumns);
}

inline Index packed(Index in, Index out, int kernel, bool winograd) {
  const Index taps = winograd ? kPoints : Index{kernel} * kernel;
  return taps * in * padded_columns(out);
}

inline void pack(const float* weights, Index in, Index out, int kernel, bool winograd,
                 float* result) {
  const Index columns = padded_columns(out), taps = Index{kernel} * kernel;
  if (!winograd) {  // depth is tap by tap, then channel
    for (Index first = 0; first < columns; first += kColumns) {
      for (Index tap = 0; tap < taps; ++tap) {
        for (Index c = 0; c < in; ++c) {
          for (Index o = first; o < first + kColumns; ++o) {
            *result++ = o < out ? weights[(o * in + c) * taps + tap] : 0.0f;
          }
        }
      }
    }
    return;
  }
  const Index plane = in * columns;
  for (Index first = 0; first < columns; first += kColumns) {
    for (Index c = 0; c < in; ++c) {
      for (Index o = first; o < first + kColumns; ++o) {
        float points[kPoints] = {};
        if (o < out) transform_weights(weights + (o * in + c) * 9, points);
        float* to = result + first * in + c * kColumns + (o - first);
        for (Index p = 0; p < kPoints; ++p) to[p * plane] = points[p];
      }
    }
  }
}

// The tiles of one Winograd convolution. A strip is a row of tiles of one image; a block, whole strips.
struct Strips {
  Index wide, high, total, per_block, tiles, row_floats, input_plane, output_plane, columns;

  explicit Strips(const Conv& task)
      : wide((task.y.width + kTile - 1) / kTile),
        high((task.y.height + kTile - 1) / kTile),
        total(task.y.images * high),
        per_block(smaller(total, larger(1, kBlockTiles / wide))),
        tiles(per_block * wide),
        row_floats((wide * kTile + 2) * task.x.channels),
        input_plane(tiles * task.x.channels + kPad),
        output_plane(tiles * padded_columns(task.y.channels) + kPad),
        columns(padded_columns(task.y.channels)) {}

  Index scratch() const {
    return rounded_up(6 * row_floats, kPad) + kPoints * rounded_up(input_plane, kPad) +
           kPoints * output_plane;
  }
};

// Six rows of input around one strip; those that the strip before it read already are kept.
class Window {
 public:
  Window(const Conv& task, const Strips& strips, float* scratch) : task_(task), strips_(strips) {
    for (int i = 0; i < 6; ++i) rows[i] = scratch + i * strips.row_floats;
  }

  void move_to(Index image, Index strip) {
    int known = 0;
    if (image == image_ && strip == strip_ + 1) {
      float* first[4] = {rows[0], rows[1], rows[2], rows[3]};
      rows[0] = rows[4];
      rows[1] = rows[5];
      for (int i = 0; i < 4; ++i) rows[2 + i] = first[i];
      known = 2;
    }
    image_ = image;
    strip_ = strip;
    const Index width = strips_.wide * kTile + 2;
    for (int i = known; i < 6; ++i) read_row(task_, image, strip * kTile - 1 + i, width, rows[i]);
  }

  float* rows[6];

 private:
  const Conv& task_;
  const Strips& strips_;
  Index image_ = -1, strip_ = -1;
};

inline void write_tile(const Conv& task, const float* m, Index plane, Index n, Index y0, Index x0) {
  const Index channels = task.y.channels;
  const Index height = smaller(kTile, task.y.height - y0), width = smaller(kTile, task.y.width - x0);
  for (Index c = 0; c < channels; c += kLanes) {
    Full out[kTile][kTile];
    transform_output(m + c, plane, out);
    const Index count = channels - c;
    for (Index y = 0; y < height; ++y) {
      for (Index x = 0; x < width; ++x) {
        const Addends addends(task, n, y0 + y, x0 + x);
        store_some(at(task.y, n, y0 + y, x0 + x) + c, addends.to(out[y][x], c, count), count);
      }
    }
  }
}

inline void winograd(const Conv& task, float* scratch) {
  const Strips strips(task);
  const Index channels = task.x.channels;
  float* const v = scratch + rounded_up(6 * strips.row_floats, kPad);
  float* const m = v + kPoints * rounded_up(strips.input_plane, kPad);
  Window window(task, strips, scratch);
  for (Index first = 0; first < strips.total; first += strips.per_block) {
    const Index count = smaller(strips.per_block, strips.total - first);
    for (Index s = 0; s < count; ++s) {
      window.move_to((first + s) / strips.high, (first + s) % strips.high);
      for (Index x = 0; x < strips.wide; ++x) {
        float* const to = v + (s * strips.wide + x) * channels;
        for (Index c = 0; c < channels; c += kLanes) {
          transform_input(window.rows, x * kTile * channels + c, channels, channels - c, to + c,
                          strips.input_plane);
        }
      }
    }
    const Index tiles = count * strips.wide;
    for (Index p = 0; p < kPoints; ++p) {
      product(tiles, strips.columns, channels, v + p * strips.input_plane, channels,
              task.weights + p * channels * strips.columns, m + p * strips.output_plane,
              strips.columns);
    }
    for (Index t = 0; t < tiles; ++t) {
      const Index strip = first + t / strips.wide;
      write_tile(task, m + t * strips.columns, strips.output_plane, strip / strips.high,
                 strip % strips.high * kTile, t % strips.wide * kTile);
    }
  }
}

// The inputs of output pixel (y, x) of image n, tap by tap; zeros outside. Any layout of x.
inline void gather(const Conv& task, Index n, Index y, Index x, float* to) {
  const Index channels = task.x.channels, reach = task.kernel / 2;
  for (Index dy = 0; dy < task.kernel; ++dy) {
    for (Index dx = 0; dx < task.kernel; ++dx, to += channels) {
      const Index row = y * task.stride + dy - reach, column = x * task.stride + dx - reach;
      if (row < 0 || row >= task.x.height || column < 0 || column >= task.x.width) {
        std::memset(to, 0, static_cast<std::size_t>(channels) * sizeof(float));
      } else if (task.x.channel == 1) {
        read_pixel(task, n, at(task.x, n, row, column), to);
      } else {
        const float* from = at(task.x, n, row, column);
        for (Index c = 0; c < channels; ++c) to[c] = from[c * task.x.channel];
      }
    }
  }
}

inline void by_pixels(const Conv& task, float* scratch) {
  const Index depth = Index{task.kernel} * task.kernel * task.x.channels;
  const Index columns = padded_columns(task.y.channels), channels = task.y.channels;
  const Index area = task.y.height * task.y.width, total = task.y.images * area;
  float* const a = scratch;
  float* const c = scratch + rounded_up(kBlockPixels * depth, kPad);
  // Pixels that lie evenly in memory are a matrix already.
  const bool even = task.kernel == 1 && task.stride == 1 && task.norm.scale == nullptr &&
                    task.x.channel == 1 && task.x.row == task.x.width * task.x.pixel &&
                    task.x.image == task.x.height * task.x.row;
  for (Index first = 0; first < total; first += kBlockPixels) {
    const Index count = smaller(kBlockPixels, total - first);
    const float* rows = task.x.data + first * task.x.pixel;
    if (!even) {
      for (Index i = 0; i < count; ++i) {
        const Index pixel = (first + i) % area;
        gather(task, (first + i) / area, pixel / task.y.width, pixel % task.y.width, a + i * depth);
      }
      rows = a;
    }
    product(count, columns, depth, rows, even ? task.x.pixel : depth, task.weights, c, columns);
    for (Index i = 0; i < count; ++i) {
      const Index n = (first + i) / area, pixel = (first + i) % area;
      const Index y = pixel / task.y.width, x = pixel % task.y.width;
      const Addends addends(task, n, y, x);
      float* const to = at(task.y, n, y, x);
      for (Index j = 0; j < channels; j += kLanes) {
        const Full sum = load(c + i * columns + j);
        store_some(to + j, addends.to(sum, j, channels - j), channels - j);
      }
    }
  }
}

inline Index conv_scratch(const Conv& task) {
  if (task.winograd) return Strips(task).scratch();
  const Index depth = Index{task.kernel} * task.kernel * task.x.channels;
  return rounded_up(kBlockPixels * depth, kPad) + kBlockPixels * padded_columns(task.y.channels);
}

inline void conv(const Conv& task, float* scratch) {
  if (task.winograd) {
    winograd(task, scratch);
  } else {
    by_pixels(task, scratch);
  }
}

}  // namespace
}  // namespace petrt::native
