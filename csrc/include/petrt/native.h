// petrt's own CPU kernels: the arguments of each operation, and the kernels that this CPU can run.
//
// Activations are channels-last, [images, height, width, channels], so inner loops run over
// channels. A tensor may be some channels of a wider one, so concatenation copies nothing.
#pragma once

#include "petrt/view.h"

namespace petrt::native {

// A view of floats owned elsewhere, with strides in elements. Networks' inputs may be planar.
struct Tensor {
  float* data = nullptr;
  Index images = 0, height = 0, width = 0, channels = 0;
  Index image = 0, row = 0, pixel = 0, channel = 1;
};

// GroupNorm of one input: x * scale + shift, each [images, channels], then SiLU if `silu`.
struct Norm {
  const float* scale = nullptr;
  const float* shift = nullptr;
  bool silu = false;
};

// y = conv(up(norm(x))) + bias + row + addends, with "same" padding by zeros after the norm.
struct Conv {
  Tensor x, y;
  Norm norm;
  bool upsample = false;  // nearest x2 before the convolution
  int kernel = 3, stride = 1;
  bool winograd = false;
  const float* weights = nullptr;  // packed by Kernels::pack
  const float* bias = nullptr;     // [channels of y], or null
  const float* row = nullptr;      // [channels of y], image n at row + n * row_image, or null
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

// Computes scale and shift [images, channels] of a GroupNorm from the statistics of x and the
// norm's weight and bias [channels].
struct Statistics {
  Tensor x;
  const float* weight = nullptr;
  const float* bias = nullptr;
  Index groups = 1;
  float epsilon = 0.0f;
  float* scale = nullptr;
  float* shift = nullptr;
};

// The outputs that one of `count` threads computes. Threads never share a sum.
struct Part {
  Index index = 0, count = 1;

  Index first(Index total) const { return total * index / count; }
  Index last(Index total) const { return total * (index + 1) / count; }
};

// Winograd's F(4x4, 3x3): 36 products instead of 144 give 16 outputs.
inline constexpr Index kTile = 4, kPoints = 36;

// The kernels compiled for one instruction set. `scratch` is uninitialised, 64-byte aligned, and
// has at least as many floats as the *_scratch function returns.
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

// The best kernels that this CPU can run, or those of a name ("avx512", "avx2", "generic"), null if
// it cannot run them.
const Kernels& kernels();
const Kernels* kernels(const char* name);

}  // namespace petrt::native
