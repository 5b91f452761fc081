// The reverse loop on a GPU: enqueues networks and kernels on one stream, or records them as a
// graph.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "device_array.h"
#include "graph.h"
#include "petrt/loop_table.h"
#include "run_keys.h"

namespace petrt::cuda {

// The networks. `prologue` (guidance and coarse network) runs once, `enqueue` (the denoiser) at
// each step. Both enqueue work on the loop's stream and do not wait for it.
struct Networks {
  std::function<void()> prologue, enqueue;
};

class DeviceLoop {
 public:
  using Array = std::shared_ptr<DeviceArray>;
  using Noise =
      View<const float, 7>;  // [chunks, steps + 1, slices, samples, 1, H, W]; null to draw
  using Caller = std::optional<cudaStream_t>;  // the loop waits for it, and it waits for the loop

  DeviceLoop(std::vector<StepCoefs> steps, float clip,
             View<const float, 2> film,  // [steps, C] on the host, copied
             LoopShape shape, float sigma_r, double sigma_z, std::shared_ptr<const Stream> stream,
             Index kept = 0);  // samples of a slice that `drawn` holds: a run's total, or 0

  // Sets the keys of the noise for runs enqueued from now on.
  void set_run(const RunKeys& keys, const std::vector<std::uint32_t>& slice_ids /* [slices] */);

  // Enqueues networks and kernels for `total` samples of each slice, in chunks that fit the
  // buffers.
  void run(const Networks& networks, Index total, const Noise& noise, const Caller& caller);

  // Records the same as a graph, and launches it. Graphs hold addresses, so buffers never move.
  void capture(const Networks& networks, Index total);
  bool captured(Index total) const { return graphs_.count(total) != 0; }
  void replay(Index total, const Caller& caller);

  const Stream& stream() const { return *stream_; }

  const Array r, eps;                   // [slices * samples, 1, H, W], slice-major
  const Array film_row;                 // [1, C]
  const Array coarse, mean, deviation;  // [slices, 1, H, W]
  const Array drawn;                    // [slices, kept, H, W]; null if kept is 0

 private:
  Index chunks(Index total) const { return (total + shape_.samples - 1) / shape_.samples; }
  void check_total(Index total) const;
  void check_keys(Index total) const;
  void enqueue_run(const Networks& networks, Index total, const Noise& noise);
  void enqueue_chunk(const Networks& networks, Index total, Index chunk, const Noise& noise);
  NoiseEntry noise_entry(const Noise& noise, Index chunk, Index entry) const;
  FilmRow film_from(Index step) const;
  void between(const Caller& caller, const std::function<void()>& work) const;

  const std::vector<StepCoefs> steps_;
  const float clip_;
  const LoopShape shape_;
  const Index kept_;
  const float sigma_r_;
  const SliceWeights weights_;
  const std::shared_ptr<const Stream> stream_;
  const DeviceArray film_;              // [steps, C]
  const DeviceArray x0_previous_, m2_;  // shapes of r and mean
  RunKeyBuffer keys_;
  std::optional<Index> first_sample_;  // of the last set_run
  const Event fork_, join_;
  std::map<Index, Graph> graphs_;  // by total
  std::atomic<bool> in_use_{false};
};

}  // namespace petrt::cuda
