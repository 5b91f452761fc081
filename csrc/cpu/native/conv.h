// Convolutions: 3x3 of stride 1 by Winograd's tiles, all others as matrix products over pixels.
#pragma once

#include "gemm.h"
#include "rows.h"
#include "winograd.h"

namespace petrt::native {
namespace {

// Rows of a Winograd product and of other products. The weights are read once per such block.
inline constexpr Index kBlockTiles = 96, kBlockPixels = 96;
// Padding in floats, so that the 36 planes use different cache sets.
inline constexpr Index kPad = 16;

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
  if (!winograd) {  // depth runs over taps, then channels
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
  for (Index first = 0; first < columns; first += kColumns) {
    for (Index c = 0; c < in; ++c) {
      Doubles g[9] = {};
      for (Index j = 0; j < smaller(kColumns, out - first); ++j) {
        const float* from = weights + ((first + j) * in + c) * 9;
        for (int i = 0; i < 9; ++i) g[i][j] = static_cast<double>(from[i]);
      }
      transform_weights(g, result + first * in + c * kColumns, in * columns);
    }
  }
}

// The tiles of one Winograd convolution, by strips; a strip is a row of tiles of one image.
struct Tiles {
  Index wide, high, total, block, row_floats, input_plane, output_plane, columns;

  explicit Tiles(const Conv& task)
      : wide((task.y.width + kTile - 1) / kTile),
        high((task.y.height + kTile - 1) / kTile),
        total(task.y.images * high * wide),
        block(smaller(total, kBlockTiles)),
        row_floats((wide * kTile + 2) * task.x.channels),
        input_plane(rounded_up(block * task.x.channels, kPad) + kPad),
        output_plane(block * padded_columns(task.y.channels) + kPad),
        columns(padded_columns(task.y.channels)) {}

  Index scratch() const {
    return rounded_up(6 * row_floats, kPad) + kPoints * (input_plane + output_plane);
  }
};

// Six rows of input around one strip. Rows that the previous strip has read are reused.
class Window {
 public:
  Window(const Conv& task, const Tiles& tiles, float* scratch) : task_(task), tiles_(tiles) {
    for (int i = 0; i < 6; ++i) rows[i] = scratch + i * tiles.row_floats;
  }

  void move_to(Index image, Index strip) {
    if (image == image_ && strip == strip_) return;
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
    const Index width = tiles_.wide * kTile + 2;
    for (int i = known; i < 6; ++i) read_row(task_, image, strip * kTile - 1 + i, width, rows[i]);
  }

  float* rows[6];

 private:
  const Conv& task_;
  const Tiles& tiles_;
  Index image_ = -1, strip_ = -1;
};

template <bool Whole>
inline void write_channels(const Conv& task, const float* m, Index plane, const Place& place,
                           Index height, Index width, Index channel) {
  const Index count = task.y.channels - channel;
  const Full biases = place.biases<Whole>(task, channel, count);
  Full out[kTile][kTile];
  transform_output(m + channel, plane, out);
  if (height == kTile && width == kTile) {  // a loop of known length stays in registers
#pragma GCC unroll 16
    for (Index i = 0; i < kTile * kTile; ++i) {
      place.write<Whole>(task, out[i / kTile][i % kTile] + biases, i / kTile, i % kTile, channel,
                         count);
    }
    return;
  }
  for (Index y = 0; y < height; ++y) {
    for (Index x = 0; x < width; ++x) {
      place.write<Whole>(task, out[y][x] + biases, y, x, channel, count);
    }
  }
}

inline void write_tile(const Conv& task, const float* m, Index plane, Index n, Index y, Index x) {
  const Index height = smaller(kTile, task.y.height - y), width = smaller(kTile, task.y.width - x);
  const Place place(task, n, y, x);
  Index c = 0;
  for (; c + kLanes <= task.y.channels; c += kLanes) {
    write_channels<true>(task, m, plane, place, height, width, c);
  }
  if (c < task.y.channels) write_channels<false>(task, m, plane, place, height, width, c);
}

// Transforms one tile of all channels; `first` is its first float in each row.
inline void read_tile(float* const rows[6], Index first, Index channels, float* v, Index plane) {
  Index c = 0;
  for (; c + kLanes <= channels; c += kLanes) {
    transform_input<true>(rows, first + c, channels, kLanes, v + c, plane);
  }
  if (c < channels) {
    transform_input<false>(rows, first + c, channels, channels - c, v + c, plane);
  }
}

inline void winograd(const Conv& task, Part part, float* scratch) {
  const Tiles tiles(task);
  const Index channels = task.x.channels;
  float* const v = scratch + rounded_up(6 * tiles.row_floats, kPad);
  float* const m = v + kPoints * tiles.input_plane;
  Window window(task, tiles, scratch);
  const Index last = part.last(tiles.total);
  for (Index first = part.first(tiles.total); first < last; first += tiles.block) {
    const Index count = smaller(tiles.block, last - first);
    for (Index t = 0; t < count; ++t) {
      const Index strip = (first + t) / tiles.wide, x = (first + t) % tiles.wide;
      window.move_to(strip / tiles.high, strip % tiles.high);
      read_tile(window.rows, x * kTile * channels, channels, v + t * channels, tiles.input_plane);
    }
    for (Index p = 0; p < kPoints; ++p) {
      float* const products = m + p * tiles.output_plane;
      if (task.upsample && vanishes_enlarged(p)) {
        std::memset(products, 0, static_cast<std::size_t>(count * tiles.columns) * sizeof(float));
      } else {
        product(count, tiles.columns, channels, v + p * tiles.input_plane, channels,
                task.weights + p * channels * tiles.columns, products, tiles.columns);
      }
    }
    for (Index t = 0; t < count; ++t) {
      const Index strip = (first + t) / tiles.wide, x = (first + t) % tiles.wide;
      write_tile(task, m + t * tiles.columns, tiles.output_plane, strip / tiles.high,
                 strip % tiles.high * kTile, x * kTile);
    }
  }
}

// Copies the inputs of output pixel (y, x) of image n, tap by tap, with zeros outside the image.
// x may have any layout.
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

// Writes one vector of channels, from `channel` on, of `count` pixels to the right of `place`.
template <bool Whole>
inline void write_run(const Conv& task, const float* sums, Index columns, const Place& place,
                      Index count, Index channel) {
  const Index channels = task.y.channels - channel;
  const Full biases = place.biases<Whole>(task, channel, channels);
  for (Index i = 0; i < count; ++i) {
    const Full value = load(sums + i * columns + channel) + biases;
    place.write<Whole>(task, value, 0, i, channel, channels);
  }
}

// Writes `count` pixels of one row, from (y, x) of image n on.
inline void write_pixels(const Conv& task, const float* sums, Index columns, Index count, Index n,
                         Index y, Index x) {
  const Place place(task, n, y, x);
  Index c = 0;
  for (; c + kLanes <= task.y.channels; c += kLanes) {
    write_run<true>(task, sums, columns, place, count, c);
  }
  if (c < task.y.channels) write_run<false>(task, sums, columns, place, count, c);
}

// Image, row and column of a pixel.
struct Cursor {
  Index n, y, x;

  Cursor(const Tensor& t, Index first)
      : n(first / (t.height * t.width)), y(first / t.width % t.height), x(first % t.width) {}

  // Moves by at most as many pixels as are left in the row.
  void move(const Tensor& t, Index pixels) {
    x += pixels;
    if (x < t.width) return;
    x = 0;
    if (++y < t.height) return;
    y = 0;
    ++n;
  }
};

inline void by_pixels(const Conv& task, Part part, float* scratch) {
  const Index depth = Index{task.kernel} * task.kernel * task.x.channels;
  const Index columns = padded_columns(task.y.channels);
  const Index total = task.y.images * task.y.height * task.y.width;
  float* const a = scratch;
  float* const c = scratch + rounded_up(kBlockPixels * depth, kPad);
  // Pixels evenly spaced in memory are already a matrix.
  const bool even = task.kernel == 1 && task.stride == 1 && task.norm.scale == nullptr &&
                    task.x.channel == 1 && task.x.row == task.x.width * task.x.pixel &&
                    task.x.image == task.x.height * task.x.row;
  const Index last = part.last(total);
  Cursor in(task.y, part.first(total)), out = in;
  for (Index first = part.first(total); first < last; first += kBlockPixels) {
    const Index count = smaller(kBlockPixels, last - first);
    for (Index i = 0; i < count && !even; ++i, in.move(task.y, 1)) {
      gather(task, in.n, in.y, in.x, a + i * depth);
    }
    const float* from = even ? task.x.data + first * task.x.pixel : a;
    const Index pixel = even ? task.x.pixel : depth;
    product(count, columns, depth, from, pixel, task.weights, c, columns, even);
    for (Index i = 0, run = 0; i < count; i += run, out.move(task.y, run)) {
      run = smaller(count - i, task.y.width - out.x);
      write_pixels(task, c + i * columns, columns, run, out.n, out.y, out.x);
    }
  }
}

inline Index conv_scratch(const Conv& task) {
  if (task.winograd) return Tiles(task).scratch();
  const Index depth = Index{task.kernel} * task.kernel * task.x.channels;
  return rounded_up(kBlockPixels * depth, kPad) + kBlockPixels * padded_columns(task.y.channels);
}

inline void conv(const Conv& task, Part part, float* scratch) {
  if (task.winograd) {
    winograd(task, part, scratch);
  } else {
    by_pixels(task, part, scratch);
  }
}

}  // namespace
}  // namespace petrt::native
