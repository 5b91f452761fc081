// Counter-based Gaussian noise: a pure function of (seed, slice, sample, step, voxel), so that
// a result does not depend on how slices and samples are split into batches or threads.
// Samples come in antithetic pairs (Hammersley and Morton, 1956): an odd sample has the negated
// noise of the even sample before it. Each sample keeps its distribution, but the noise cancels
// from a pair's mean to first order, so few samples average as well as many independent ones.
// Neighbouring slices may have noise that correlates (method.md section 9): then a slice's noise is
// a weighted sum of the streams of the slices around it, and still N(0, 1).
#pragma once

#include <cmath>
#include <cstdint>

#include "petrt/hostdevice.h"

namespace petrt {

struct NoiseKey {
  std::uint64_t seed;
  std::uint32_t slice, sample, step;
};

struct Words {
  std::uint32_t w[4];
};

struct Normals {
  float z[4];
};

// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
PETRT_HD inline Words philox4x32_10(Words counter, std::uint32_t key0, std::uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * counter.w[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * counter.w[2];
    counter = {{static_cast<std::uint32_t>(p1 >> 32) ^ counter.w[1] ^ key0,
                static_cast<std::uint32_t>(p1),
                static_cast<std::uint32_t>(p0 >> 32) ^ counter.w[3] ^ key1,
                static_cast<std::uint32_t>(p0)}};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

// A word as a float in (0, 1]: float(word) 2^-32 + 2^-33. It is never 0, so its log is finite.
PETRT_HD inline float uniform(std::uint32_t word) {
  return static_cast<float>(word) * 0x1p-32f + 0x1p-33f;
}

// Box-Muller: two uniform words to two independent N(0, 1) values.
PETRT_HD inline void box_muller(std::uint32_t word0, std::uint32_t word1, float* z) {
  const float radius = std::sqrt(-2.0f * std::log(uniform(word0)));
  const float angle = 6.2831853071795864769f * uniform(word1);
  z[0] = radius * std::cos(angle);
  z[1] = radius * std::sin(angle);
}

// The normals of voxels 4 block .. 4 block + 3 of a slice.
PETRT_HD inline Normals normals4(const NoiseKey& key, std::uint32_t block) {
  const Words words = philox4x32_10({{block, key.step, key.sample >> 1, key.slice}},
                                    static_cast<std::uint32_t>(key.seed),
                                    static_cast<std::uint32_t>(key.seed >> 32));
  Normals normals;
  box_muller(words.w[0], words.w[1], normals.z);
  box_muller(words.w[2], words.w[3], normals.z + 2);
  if (key.sample & 1u) {
    for (float& z : normals.z) z = -z;
  }
  return normals;
}

constexpr double kMostSigmaZ = 3.0;  // slices
constexpr int kMostReach = 9;        // ceil(3 kMostSigmaZ)

// The weights w[|k|] with which the streams of slices z - reach .. z + reach make the noise of
// slice z. The sum of the squares of all 2 reach + 1 weights is 1.
struct SliceWeights {
  int reach;
  float w[kMostReach + 1];
};

// w_k proportional to exp(-k^2 / (2 sigma_z^2)) for |k| <= ceil(3 sigma_z); slices m apart then
// correlate by about exp(-m^2 / (4 sigma_z^2)). 0 <= sigma_z <= kMostSigmaZ; 0 leaves slice z
// alone.
inline SliceWeights slice_weights(double sigma_z) {
  SliceWeights weights{static_cast<int>(std::ceil(3.0 * sigma_z)), {1.0f}};
  if (weights.reach == 0) return weights;
  double w[kMostReach + 1], squares = 0.0;
  for (int k = 0; k <= weights.reach; ++k) {
    w[k] = std::exp(-0.5 * (k / sigma_z) * (k / sigma_z));
    squares += (k == 0 ? 1.0 : 2.0) * w[k] * w[k];
  }
  for (int k = 0; k <= weights.reach; ++k) {
    weights.w[k] = static_cast<float>(w[k] / std::sqrt(squares));
  }
  return weights;
}

// As normals4, with the streams of the slices around combined. key.slice -+ reach must be ids, too.
PETRT_HD inline Normals coherent4(const NoiseKey& key, const SliceWeights& weights,
                                  std::uint32_t block) {
  NoiseKey other = key;
  other.slice -= static_cast<std::uint32_t>(weights.reach);
  Normals sum = normals4(other, block);
  for (float& z : sum.z) z *= weights.w[weights.reach];  // 1 if there is no other slice
  for (int k = 1 - weights.reach; k <= weights.reach; ++k) {
    ++other.slice;
    const Normals normals = normals4(other, block);
    const float w = weights.w[k < 0 ? -k : k];
    for (int i = 0; i < 4; ++i) sum.z[i] += w * normals.z[i];
  }
  return sum;
}

}  // namespace petrt
