// The elementwise kernels as functors of the global index. A GPU runs one index per thread; tests
// run the same code on a CPU. An index stands for four neighbouring voxels of one image, which
// share a block of noise and, if all addresses are aligned, one 16-byte access.
#pragma once

#include "petrt/hostdevice.h"
#include "petrt/neighbours.h"
#include "petrt/noise.h"
#include "petrt/step.h"
#include "petrt/view.h"

namespace petrt {

struct alignas(16) Four {
  float v[4];
};

// The voxels of one index: `size` (1 to 4) voxels of image `image`; the first is element `begin`.
struct Part {
  std::uint32_t image, block;
  Index begin;
  int size;
  bool wide;  // all four, at addresses divisible by 16

  PETRT_HD Four load(const float* from) const {
    Four four{};
    if (wide) {
      four = *reinterpret_cast<const Four*>(from + begin);
    } else {
      for (int k = 0; k < 4; ++k) {
        if (k < size) four.v[k] = from[begin + k];
      }
    }
    return four;
  }

  PETRT_HD void store(const Four& four, float* to) const {
    if (wide) {
      *reinterpret_cast<Four*>(to + begin) = four;
    } else {
      for (int k = 0; k < 4; ++k) {
        if (k < size) to[begin + k] = four.v[k];
      }
    }
  }

  // The same voxels of image `other`.
  PETRT_HD Part in(Index other, Index voxels) const {
    return {static_cast<std::uint32_t>(other), block, other * voxels + Index{4} * block, size,
            wide};
  }
};

// Images divided into parts. `aligned`: all their arrays start at addresses divisible by 16.
struct Parts {
  Index images, voxels;
  std::uint32_t blocks;  // parts of an image; the last may be smaller
  bool wide;

  Parts(Index images_, Index voxels_, bool aligned)
      : images(images_),
        voxels(voxels_),
        blocks(static_cast<std::uint32_t>((voxels_ + 3) / 4)),
        wide(aligned && voxels_ % 4 == 0) {}

  Index count() const { return images * Index{blocks}; }

  PETRT_HD Part at(std::uint32_t i) const {
    const std::uint32_t image = i / blocks, block = i % blocks;
    const Index left = voxels - Index{4} * block;
    return {image, block, image * voxels + Index{4} * block, left < 4 ? static_cast<int>(left) : 4,
            wide};
  }
};

// The keys of the noise, in device memory, so that a recorded graph can run with other values.
struct RunKeys {
  std::uint64_t seed;
  std::uint32_t first_sample, unused;
};

// The noise of one step for all images [slices * samples, voxels], drawn or given.
struct NoiseEntry {
  const RunKeys* keys;             // not read if noise is given
  const std::uint32_t* slice_ids;  // [slices]
  std::uint32_t samples, chunk_first, step;
  const float* given;    // null to draw
  SliceWeights weights;  // not read if noise is given

  PETRT_HD Four at(const Part& part) const {
    if (given != nullptr) return part.load(given);
    const std::uint32_t sample = keys->first_sample + chunk_first + part.image % samples;
    const NoiseKey key{keys->seed, slice_ids[part.image / samples], sample, step};
    const Normals normals = coherent4(key, weights, part.block);
    return {{normals.z[0], normals.z[1], normals.z[2], normals.z[3]}};
  }
};

// Copies the row of the noise-bias table for the network's next call; width 0 copies nothing.
struct FilmRow {
  const float* from;
  float* to;
  std::uint32_t width;

  PETRT_HD void copy(std::uint32_t i) const {
    if (i < width) to[i] = from[i];
  }
};

// Starts a run: r <- noise. x0_previous has no value yet, so a table's first c must be 0.
struct Start {
  Parts parts;
  float* r;  // [images, voxels]
  NoiseEntry noise;
  FilmRow film;

  Index count() const { return parts.count() > film.width ? parts.count() : Index{film.width}; }

  PETRT_HD void operator()(std::uint32_t i) const {
    film.copy(i);
    if (i >= parts.images * Index{parts.blocks}) return;
    const Part part = parts.at(i);
    part.store(noise.at(part), r);
  }
};

// One reverse step in place: r <- next r, x0_previous <- x0, and the next film row.
struct Step {
  Parts parts;
  StepCoefs coefs;
  float clip;
  float* r;
  const float* eps;
  float* x0_previous;
  bool keep_x0;  // a later step reads it
  NoiseEntry noise;
  FilmRow film;

  Index count() const { return parts.count() > film.width ? parts.count() : Index{film.width}; }

  PETRT_HD void operator()(std::uint32_t i) const {
    film.copy(i);
    if (i >= parts.images * Index{parts.blocks}) return;
    const Part part = parts.at(i);
    Four now = part.load(r), x0 = part.load(eps);
    const Four before = coefs.c != 0.0f ? part.load(x0_previous) : Four{};
    const Four z = coefs.s != 0.0f ? noise.at(part) : Four{};
    for (int k = 0; k < 4; ++k) {
      x0.v[k] = predict_x0(coefs, clip, now.v[k], x0.v[k]);
      now.v[k] = next_r(coefs, now.v[k], x0.v[k], before.v[k], z.v[k]);
    }
    part.store(now, r);
    if (keep_x0) part.store(x0, x0_previous);
  }
};

// Adds `used` samples of each slice to mean and m2 in order, and writes the standard deviation.
struct Average {
  Parts parts;     // parts of the slices
  const float* r;  // [slices, samples, voxels]
  Index samples, used;
  const float* coarse;  // [slices, voxels]
  float sigma_r;
  float *mean, *m2;  // [slices, voxels]; not read for the first samples
  Index before;      // number of samples added before
  bool keep_m2;      // whether more samples follow
  float* spread;     // [slices, voxels], the standard deviation; null except for the last samples
  float* drawn;      // [slices, kept, voxels], the samples themselves; null unless they are kept
  Index kept;

  Index count() const { return parts.count(); }

  PETRT_HD void operator()(std::uint32_t i) const {
    const Part part = parts.at(i);
    const Four base = part.load(coarse);
    Four m = before > 0 ? part.load(mean) : Four{}, q = before > 0 ? part.load(m2) : Four{};
    for (Index sample = 0; sample < used; ++sample) {
      const float n = static_cast<float>(before + sample + 1);
      const Four x = part.in(part.image * samples + sample, parts.voxels).load(r);
      Four y{};
      for (int k = 0; k < 4; ++k) {
        y.v[k] = reconstruct(base.v[k], sigma_r, x.v[k]);
        add_sample(y.v[k], n, m.v[k], q.v[k]);
      }
      if (drawn != nullptr) {
        part.in(part.image * kept + before + sample, parts.voxels).store(y, drawn);
      }
    }
    part.store(m, mean);
    if (keep_m2) part.store(q, m2);
    if (spread == nullptr) return;
    const float n = static_cast<float>(before + used);
    for (int k = 0; k < 4; ++k) q.v[k] = deviation(q.v[k], n);
    part.store(q, spread);
  }
};

// Copies slices with their neighbours to nas, and the slices themselves to x. If the volume has
// fewer slices than the batch, the rest of the batch repeats the last slice.
struct StackSlices {
  Parts parts;          // parts of the batch
  const float* planes;  // [P, voxels], slices first_plane .. of the volume
  Index first_plane, first, depth;
  float* x;    // [B, voxels]
  float* nas;  // [B, 5, voxels]

  Index count() const { return parts.count(); }

  PETRT_HD void operator()(std::uint32_t i) const {
    const Part part = parts.at(i);
    const Index wanted = first + part.image, centre = wanted < depth ? wanted : depth - 1;
    for (Index channel = 0; channel < kNeighbours; ++channel) {
      const Index source = neighbour(centre, channel, depth) - first_plane;
      const Four four = part.in(source, parts.voxels).load(planes);
      part.in(part.image * kNeighbours + channel, parts.voxels).store(four, nas);
      if (channel == kNeighbours / 2) part.store(four, x);
    }
  }
};

// Draws the noise of one image, with a key from the host.
struct Draw {
  Parts parts;
  NoiseKey key;
  SliceWeights weights;
  float* out;

  Index count() const { return parts.count(); }

  PETRT_HD void operator()(std::uint32_t i) const {
    const Part part = parts.at(i);
    const Normals normals = coherent4(key, weights, part.block);
    part.store({{normals.z[0], normals.z[1], normals.z[2], normals.z[3]}}, out);
  }
};

}  // namespace petrt
