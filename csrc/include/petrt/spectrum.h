// The log spectrum of a slice, 20 ln|F + 1e-8| scaled to [0, 1], from the half of the transform F
// that a real FFT gives. The other half is its conjugate, and |conj(F) + e| = |F + e|.
#pragma once

#include <cmath>

#include "petrt/hostdevice.h"
#include "petrt/view.h"

namespace petrt {

struct Complex {
  double re, im;
};

// |F + 1e-8|^2. The log is monotonic, so the range of a slice needs no logarithms.
PETRT_HD inline double floored_power(const Complex& f) {
  const double re = f.re + 1e-8;
  return re * re + f.im * f.im;
}

PETRT_HD inline double log_magnitude(double power) {
  return 10.0 * std::log(power);
}

// Minimum and maximum of some numbers; of no numbers, an empty range. NaN is ignored.
struct Range {
  double low = HUGE_VAL, high = -HUGE_VAL;

  PETRT_HD void add(const Range& other) {
    low = other.low < low ? other.low : low;
    high = other.high > high ? other.high : high;
  }
};

// One slice: from half [H, W / 2 + 1] to out [H, W], with the zero frequency at [H / 2, W / 2].
struct SliceSpectrum {
  const Complex* half;
  float* out;
  Index height, width;

  PETRT_HD Index half_width() const { return width / 2 + 1; }
  PETRT_HD Index size() const { return height * half_width(); }

  PETRT_HD Range power(Index i) const {
    const double value = floored_power(half[i]);
    return {value, value};
  }

  // Writes element i of half to its place in out and to that of its conjugate; 0 for a flat slice.
  PETRT_HD void write(Index i, const Range& powers) const {
    const double low = log_magnitude(powers.low), extent = log_magnitude(powers.high) - low;
    const double above = log_magnitude(floored_power(half[i])) - low;
    const float value = static_cast<float>(above / (extent > 0.0 ? extent : 1.0));
    const Index y = i / half_width(), x = i % half_width();
    out[shifted(y, height) * width + shifted(x, width)] = value;
    if (x == 0 || 2 * x == width) return;  // this column holds its own conjugates
    out[shifted(height - y, height) * width + shifted(width - x, width)] = value;
  }

  // The place of frequency k of n, with 0 in the centre. k may be n, which is frequency 0.
  PETRT_HD static Index shifted(Index k, Index n) { return (k + n / 2) % n; }
};

}  // namespace petrt
