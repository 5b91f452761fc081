// Refuses to enter an object twice at once.
#pragma once

#include <atomic>
#include <stdexcept>

namespace petrt {

// Two calls of a loop at once would mix its buffers; so would a run inside the enqueue of another.
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
