// Vectors of PETRT_LANES floats, by the compiler's vector extension, and operations on them.
//
// One translation unit per instruction set includes this. Everything is in an unnamed namespace and
// calls no function of the standard library: the linker merges templates across units, and might
// keep the copy compiled for instructions that this CPU lacks.
#pragma once

#include <cstdint>
#include <cstring>

#include "petrt/native.h"

namespace petrt::native {
namespace {

inline constexpr Index kLanes = PETRT_LANES;

typedef float Vec __attribute__((vector_size(PETRT_LANES * 4), aligned(4), may_alias));
typedef float Full __attribute__((vector_size(PETRT_LANES * 4)));
typedef std::int32_t Int __attribute__((vector_size(PETRT_LANES * 4)));

inline Full load(const float* p) {
  return *reinterpret_cast<const Vec*>(p);
}

inline void store(float* p, Full v) {
  *reinterpret_cast<Vec*>(p) = v;
}

// value - 0 is value for every float; compilers know that and emit a broadcast.
inline Full splat(float value) {
  return value - Full{};
}

// Loads the first `count` lanes and sets the others to 0; loads all if Whole.
template <bool Whole = false>
inline Full load_some(const float* p, Index count) {
  if (Whole || count >= kLanes) return load(p);
  float lanes[kLanes] = {};
  std::memcpy(lanes, p, static_cast<std::size_t>(count) * sizeof(float));
  return load(lanes);
}

template <bool Whole = false>
inline void store_some(float* p, Full v, Index count) {
  if (Whole || count >= kLanes) {
    store(p, v);
    return;
  }
  float lanes[kLanes];
  store(lanes, v);
  std::memcpy(p, lanes, static_cast<std::size_t>(count) * sizeof(float));
}

// The first channel of pixel (y, x) of image n.
inline float* at(const Tensor& t, Index n, Index y, Index x) {
  return t.data + n * t.image + y * t.row + x * t.pixel;
}

inline Index smaller(Index a, Index b) {
  return a < b ? a : b;
}

inline Index larger(Index a, Index b) {
  return a < b ? b : a;
}

inline Index rounded_up(Index value, Index multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// e^x to 2 units in the last place for x in [-87, 87]; other x with |x| < 2^40 are clamped to it.
// NaN stays NaN. The polynomial has the least relative error of its degree on [-ln(2)/2, ln(2)/2]
// with e^0 = 1.
inline Full exponential(Full x) {
  // Adding 1.5 * 2^23 rounds to an integer, which is then in the low bits.
  const Full magic = splat(12582912.0f);
  const Full shifted = x * 1.44269504088896341f + magic;
  const Full n = shifted - magic;
  const Full r = x - n * 0.693359375f + n * 2.12194440e-4f;
  Full p = splat(0.00138436444f);
  p = p * r + 0.00837416295f;
  p = p * r + 0.0416680016f;
  p = p * r + 0.166664317f;
  p = p * r + 0.49999994f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  Int power;
  std::memcpy(&power, &shifted, sizeof power);
  const Int low = Int{} + (0x4B400000 - 126), high = Int{} + (0x4B400000 + 126);
  power = power < low ? low : power;
  power = power > high ? high : power;
  power = (power - 0x4B400000 + 127) << 23;
  Full scale;
  std::memcpy(&scale, &power, sizeof scale);
  return p * scale;
}

// x / (1 + e^-x)
inline Full silu(Full x) {
  return x / (exponential(-x) + 1.0f);
}

}  // namespace
}  // namespace petrt::native
