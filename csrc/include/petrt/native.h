// petrt's own CPU kernels: what one step of a network works on, and which kernels this CPU runs.
//
// Activations lie channels last, [images, height, width, channels], so that every inner loop runs
// over channels. A tensor may be a part of the channels of a wider one: concatenation copies
// nothing.
#pragma once

#include "petrt/view.h"

namespace petrt::native {

// Floats that somebody else owns; strides in elements. Networks' inputs may be planar.
struct Tensor {
  float* data = nullptr;
  Index images = 0, height = 0, width = 0, channels = 0;
  Index image = 0, row = 0, pixel = 0, channel = 1;
};

// GroupNorm settled for one input: x * scale + shift, [images, channels] each, then SiLU if asked
// for.
struct Norm {
  const float* scale = nullptr;
  const float* shift = nullptr;
  bool silu = false;
};

// y = conv(up(norm(x))) + bias + row + addends. Padding keeps "same" sizes, zeros after the norm.
struct Conv {
  Tensor x, y;
  Norm norm;
  bool upsample = false;  // nearest x2 before the convolution
  int kernel = 3, stride = 1;
  bool winograd = false;
  const float* weights = nullptr;  // packed by Kernels::pack
  const float* bias = nullptr;     // [channels of y], or none
  const float* row = nullptr;      // [channels of y] for every row_image floats an image, or none
  Index row_image = 0;
  Tensor add[2];  // [images of y / repeat, height, width, channels of y]
  Index repeat[2] = {1, 1};
  int adds = 0;
};

// softmax(scale * q k^T) v over the positions of each image; q, k, v are thirds of qkv's channels.
struct Attention {
  Tensor qkv, y;
  float scale = 1.0f;
};

// GroupNorm's statistics of x turned into scale and shift [images, channels] with its weights
// [channels].
struct Statistics {
  Tensor x;
  const float* weight = nullptr;
  const float* bias = nullptr;
  Index groups = 1;
  float epsilon = 0.0f;
  float* scale = nullptr;
  float* shift = nullptr;
};

// One of `count` threads that share a task: which outputs are its own. No sum is divided.
struct Part {
  Index index = 0, count = 1;

  Index first(Index total) const { return total * index / count; }
  Index last(Index total) const { return total * (index + 1) / count; }
};

// Winograd's F(4x4, 3x3): 36 products give 16 outputs, of 144.
inline constexpr Index kTile = 4, kPoints = 36;

// The kernels compiled for one instruction set. `scratch` is uninitialised, of at least as many
// floats as the *_scratch function says, 64-byte aligned.
struct Kernels {
  const char* name;
  Index lanes;  // floats in a vector
  // weights [out, in, kernel, kernel] -> packed
  Index (*packed)(Index in, Index out, int kernel, bool winograd);
  void (*pack)(const float* weights, Index in, Index out, int kernel, bool winograd, float* packed);
  Index (*conv_scratch)(const Conv& task);
  void (*conv)(const Conv& task, Part part, float* scratch);
  Index (*statistics_scratch)(const Statistics& task);
  void (*statistics)(const Statistics& task, Part part, float* scratch);
  Index (*attention_scratch)(const Attention& task);
  void (*attention)(const Attention& task, Part part, float* scratch);
};

// The best kernels this CPU can run; by name ("avx512", "avx2", "generic"), or null if it cannot.
const Kernels& kernels();
const Kernels* kernels(const char* name);

}  // namespace petrt::native
