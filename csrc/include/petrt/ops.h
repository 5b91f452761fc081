// The operations around the networks, on host memory. Each checks its shapes and number of threads.
#pragma once

#include "petrt/noise.h"
#include "petrt/spectrum.h"
#include "petrt/step.h"
#include "petrt/view.h"

namespace petrt {

// Copies slices first .. first+B-1 with their neighbours; a missing neighbour is the centre slice.
void stack_slices(View<const float, 3> volume,      // [Z, H, W]
                  Index first, View<float, 4> out,  // [B, 5, H, W]
                  int threads);

// Draws N(0, 1) noise; noise.h says what a value depends on.
void normals(std::uint64_t seed, View<const std::uint32_t, 1> slices,  // [slices] ids
             std::uint32_t first_sample, std::uint32_t step, const SliceWeights& weights,
             View<float, 3> out,  // [slices, samples, voxels]
             int threads);

// One reverse step in place (step.h): r <- next r, x0_previous <- x0.
void reverse_step(View<float, 1> r, View<const float, 1> eps, View<float, 1> x0_previous,
                  View<const float, 1> noise,  // not read if coefs.s is 0
                  const StepCoefs& coefs, float clip, int threads);

// The log spectrum of each slice (spectrum.h) from the half that a real FFT gives.
void log_spectrum(View<const Complex, 4> half,  // [B, 1, H, W / 2 + 1], unshifted
                  View<float, 4> out,           // [B, 1, H, W], zero frequency in the centre
                  int threads);

// Applies a symmetric filter along the middle axis, in float64. A line's end voxels continue it
// beyond its ends. `weights`: for the centre, then for voxels 1, 2, ... away on both sides.
void smooth_axis(View<const float, 3> in,        // [outer, n, inner]
                 View<const double, 1> weights,  // [radius + 1]
                 View<float, 3> out,             // [outer, n, inner], not `in`
                 int threads);

// Sample standard deviation (ddof = 1) from m2 of `count` samples; 0 for a single one.
void finish(View<const float, 1> m2, Index count, View<float, 1> std, int threads);

}  // namespace petrt
