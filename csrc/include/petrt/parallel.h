// Splits a range over short-lived threads. Bodies must not throw.
#pragma once

#include <algorithm>
#include <thread>
#include <vector>

#include "petrt/view.h"

namespace petrt {

// Calls body(begin, end) on disjoint parts of [0, count), the last part on the caller's thread.
// Parts have at least `grain` items, to be worth a thread. No result may depend on the split.
template <typename Body>
void parallel_for(Index count, Index grain, int threads, const Body& body) {
  const Index parts = std::max<Index>(1, std::min<Index>(threads, count / grain));
  struct Workers : std::vector<std::thread> {
    ~Workers() {  // also joins if a later thread could not be started
      for (std::thread& worker : *this) worker.join();
    }
  } workers;
  workers.reserve(static_cast<std::size_t>(parts));
  for (Index part = 0; part + 1 < parts; ++part) {
    workers.emplace_back(body, count * part / parts, count * (part + 1) / parts);
  }
  body(count * (parts - 1) / parts, count);
}

}  // namespace petrt
