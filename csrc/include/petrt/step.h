// The arithmetic of one voxel, in the order in which it is rounded: the only place it is written.
#pragma once

#include <cmath>

#include "petrt/hostdevice.h"

namespace petrt {

// One row of the step table. Every sampler (DDPM, DDIM, DPM-Solver++ 2M, ...) is a table of these.
struct StepCoefs {
  float x0_r, x0_eps;  // x0 = x0_r r - x0_eps eps
  float a, b, c, s;    // r <- a r + b x0 + c x0_previous + s z
};

// Eq. 6: the residual that the predicted noise implies, within [-clip, clip].
// x0 - x0 is 0, or NaN where x0 is not finite: a bare clamp would hide a network that overflowed.
PETRT_HD inline float predict_x0(const StepCoefs& k, float clip, float r, float eps) {
  const float x0 = k.x0_r * r - k.x0_eps * eps;
  const float bounded = x0 < -clip ? -clip : (x0 > clip ? clip : x0);
  return bounded + (x0 - x0);
}

// Eq. 4: r_{t-1} from r_t. A zero c or s means that x0_previous or z has no value yet: not read.
PETRT_HD inline float next_r(const StepCoefs& k, float r, float x0, float x0_previous, float z) {
  float next = k.a * r + k.b * x0;
  if (k.c != 0.0f) next += k.c * x0_previous;
  if (k.s != 0.0f) next += k.s * z;
  return next;
}

// Sec. 3.1: y' = x_cp + r_0 for a residual kept in units of sigma_r. Written so that NaN passes.
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

// Sample standard deviation (ddof = 1) of n samples; m2 of a single one is 0.
PETRT_HD inline float deviation(float m2, float n) {
  return std::sqrt(m2 / (n > 1.0f ? n - 1.0f : 1.0f));
}

}  // namespace petrt
