// Refuses two calls into an object at the same time.
#pragma once

#include <atomic>
#include <stdexcept>

namespace petrt {

// Two simultaneous calls of a loop, or a run inside the enqueue of another, would mix its buffers.
class InUse {
 public:
  explicit InUse(std::atomic<bool>& flag) : flag_(flag) {
    if (flag_.exchange(true)) throw std::runtime_error("ReverseLoop is already in use");
  }
  ~InUse() { flag_ = false; }
  InUse(const InUse&) = delete;
  InUse& operator=(const InUse&) = delete;

 private:
  std::atomic<bool>& flag_;
};

}  // namespace petrt
