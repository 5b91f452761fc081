// Checks that throw. A message states the expected and the actual value.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

#include "petrt/view.h"

namespace petrt {

// Throws std::invalid_argument, a ValueError in Python.
template <typename... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

template <typename... Parts>
void check(bool ok, const Parts&... parts) {
  if (!ok) refuse(parts...);
}

template <typename Extents>
std::string shape_text(const Extents& shape) {
  std::ostringstream text;
  const char* separator = "";
  text << "[";
  for (const auto extent : shape) {
    text << separator << extent;
    separator = ", ";
  }
  text << "]";
  return text.str();
}

template <typename T, int Rank>
void check_shape(const char* name, const View<T, Rank>& view,
                 const typename View<T, Rank>::Shape& expected) {
  if (view.shape == expected) return;
  refuse(name, ": expected shape ", shape_text(expected), ", got ", shape_text(view.shape));
}

inline void check_threads(int threads) {
  check(threads >= 1, "threads: expected at least 1, got ", threads);
}

}  // namespace petrt
