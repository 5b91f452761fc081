// A tensor owned elsewhere: C-contiguous, the last axis fastest.
#pragma once

#include <array>
#include <cstdint>

namespace petrt {

using Index = std::int64_t;

template <typename T, int Rank>
struct View {
  using Shape = std::array<Index, Rank>;

  T* data = nullptr;
  Shape shape{};

  Index size() const {
    Index product = 1;
    for (const Index extent : shape) product *= extent;
    return product;
  }

  operator View<const T, Rank>() const { return {data, shape}; }
};

}  // namespace petrt
