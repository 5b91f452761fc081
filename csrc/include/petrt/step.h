// The arithmetic of one voxel, in the order in which it is rounded. All code paths use it.
#pragma once

#include <cmath>

#include "petrt/hostdevice.h"

namespace petrt {

// One row of the step table. Every sampler (DDPM, DDIM, DPM-Solver++ 2M, ...) is such a table.
struct StepCoefs {
  float x0_r, x0_eps;  // x0 = x0_r r - x0_eps eps
  float a, b, c, s;    // r <- a r + b x0 + c x0_previous + s z
};

// Eq. 6: the residual x0 from the predicted noise, clamped to [-clip, clip]. x0 - x0 is 0, or NaN
// if x0 is not finite; the clamp alone would hide that a network overflowed.
PETRT_HD inline float predict_x0(const StepCoefs& k, float clip, float r, float eps) {
  const float x0 = k.x0_r * r - k.x0_eps * eps;
  const float bounded = x0 < -clip ? -clip : (x0 > clip ? clip : x0);
  return bounded + (x0 - x0);
}

// Eq. 4: r_{t-1} from r_t. If c or s is 0, x0_previous or z is not read and may have no value.
PETRT_HD inline float next_r(const StepCoefs& k, float r, float x0, float x0_previous, float z) {
  float next = k.a * r + k.b * x0;
  if (k.c != 0.0f) next += k.c * x0_previous;
  if (k.s != 0.0f) next += k.s * z;
  return next;
}

// Sec. 3.1: y' = x_cp + r_0 for a residual in units of sigma_r, clipped at 0. NaN stays NaN.
PETRT_HD inline float reconstruct(float coarse, float sigma_r, float r) {
  const float y = coarse + sigma_r * r;
  return y < 0.0f ? 0.0f : y;
}

// Mean and sum of squared deviations of the samples so far; n counts the new one (Welford 1962).
PETRT_HD inline void add_sample(float y, float n, float& mean, float& m2) {
  const float delta = y - mean;
  mean += delta / n;
  m2 += delta * (y - mean);
}

// Sample standard deviation (ddof = 1) of n samples; 0 for a single one, whose m2 is 0.
PETRT_HD inline float deviation(float m2, float n) {
  return std::sqrt(m2 / (n > 1.0f ? n - 1.0f : 1.0f));
}

}  // namespace petrt
