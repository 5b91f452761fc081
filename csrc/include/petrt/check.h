// Throwing checks. A message states what was expected and what came.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

#include "petrt/view.h"

namespace petrt {

// Throws std::invalid_argument (ValueError in Python) with the parts joined unless ok.
template <typename... Parts>
void check(bool ok, const Parts&... parts) {
  if (ok) return;
  std::ostringstream message;
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

template <typename Extents>
std::string shape_text(const Extents& shape) {
  std::ostringstream text;
  const char* separator = "[";
  for (const auto extent : shape) {
    text << separator << extent;
    separator = ", ";
  }
  text << (shape.size() == 0 ? "[]" : "]");
  return text.str();
}

template <typename T, int Rank>
void check_shape(const char* name, const View<T, Rank>& view,
                 const typename View<T, Rank>::Shape& expected) {
  if (view.shape == expected) return;
  check(false, name, ": expected shape ", shape_text(expected), ", got ", shape_text(view.shape));
}

inline void check_threads(int threads) {
  check(threads >= 1, "threads: expected at least 1, got ", threads);
}

}  // namespace petrt
