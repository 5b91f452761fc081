// What the twin keeps behind the handles of cuda_runtime_api.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "cuda_runtime.h"

namespace twin {

using Work = std::function<void()>;

// A recording in progress, or one that was broken by misuse.
struct Capture {
  std::thread::id thread = std::this_thread::get_id();
  bool broken = false;
  std::vector<Work> nodes;
};

// A point in a stream that its work has passed or not.
struct Mark {
  TwinStream* stream;
  bool passed = false;
  std::chrono::steady_clock::time_point when{};
};

struct Block {
  std::size_t bytes;
  int device;  // kPinned for host memory
};

constexpr int kPinned = -1;

// Everything there is; one lock for all of it.
struct State {
  std::recursive_mutex mutex;
  int devices = 2;
  std::size_t memory = std::size_t{8} << 30;  // of each device
  std::set<TwinStream*> streams;
  std::set<TwinEvent*> events;
  std::map<int, std::unique_ptr<TwinStream>> legacy, per_thread;  // default streams by device
  std::set<std::shared_ptr<Capture>> captures;
  std::map<std::uintptr_t, Block> blocks;
  std::deque<std::pair<void*, std::size_t>> freed;  // kept a while, full of NaN
  std::size_t freed_bytes = 0;
  int depth = 0;                      // of work that runs
  cudaError_t failure = cudaSuccess;  // of work that ran
};

State& state();

// Holds the lock; waits for it without the GIL, which the holder's work may need.
class Lock {
 public:
  Lock();
  ~Lock() { state().mutex.unlock(); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
};

cudaError_t note(cudaError_t status);   // for cudaGetLastError
int device();                           // the thread's current one
TwinStream* find(cudaStream_t handle);  // null where there is no such stream
cudaError_t unsafe_call();
cudaError_t enqueue(cudaStream_t stream, Work work);
void run_all(TwinStream& stream);
void run_until(const Mark& mark);
void run_everything();
cudaError_t failure_of_work();

}  // namespace twin

struct TwinStream {
  int device;
  std::deque<twin::Work> queue;
  std::shared_ptr<twin::Capture> capture;
};

struct TwinEvent {
  int device;
  bool timing;
  std::shared_ptr<twin::Mark> mark;        // of the last record
  std::shared_ptr<twin::Capture> capture;  // instead of a mark, where that was recorded
};

struct TwinGraph {
  std::vector<twin::Work> nodes;
};

struct TwinGraphExec {
  int device;
  std::shared_ptr<const std::vector<twin::Work>> nodes;
};
