// Threads that share each task and wait for each other at a barrier after it.
#pragma once

#include <atomic>
#include <system_error>
#include <thread>
#include <vector>

#include "petrt/native.h"

namespace petrt::native {

class Crew {
 public:
  // Calls body(part) once for each part, the first on the caller's thread. If fewer threads than
  // `threads` can be started, there are fewer parts. The body must not throw.
  template <typename Body>
  void work(int threads, const Body& body) {
    std::vector<std::thread> others;
    others.reserve(static_cast<std::size_t>(threads));
    try {
      for (Index index = 1; index < threads; ++index) {
        others.emplace_back([this, &body, index] { body(Part{index, size()}); });
      }
    } catch (const std::system_error&) {  // the started threads do all the work
    }
    const Index count = static_cast<Index>(others.size()) + 1;
    size_.store(count, std::memory_order_release);
    body(Part{0, count});
    for (std::thread& other : others) other.join();
  }

  // A barrier: returns when all threads have called it. All then see what each wrote before.
  void meet() {
    const Index count = size();
    if (count == 1) return;
    const Index round = round_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == count) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      return;
    }
    for (int spins = 0; round_.load(std::memory_order_acquire) == round; ++spins) {
      if (spins > kSpins) std::this_thread::yield();
    }
  }

 private:
  static constexpr int kSpins = 2000;  // a few microseconds, before a thread yields its core

  // The number of parts; waits until all threads have been started.
  Index size() const {
    Index count = size_.load(std::memory_order_acquire);
    while (count == 0) {
      std::this_thread::yield();
      count = size_.load(std::memory_order_acquire);
    }
    return count;
  }

  std::atomic<Index> size_{0}, arrived_{0}, round_{0};
};

}  // namespace petrt::native
