// Owned, zeroed memory at a fixed, 64-byte aligned address that inference engines can bind.
#pragma once

#include <algorithm>
#include <memory>
#include <new>

#include "petrt/view.h"

namespace petrt {

template <typename T>
class Buffer {
 public:
  explicit Buffer(Index size)
      : data_(static_cast<T*>(::operator new(static_cast<std::size_t>(size) * sizeof(T), kAlign))) {
    std::fill_n(data_.get(), size, T{});
  }

  T* data() const { return data_.get(); }

 private:
  static constexpr std::align_val_t kAlign{64};

  struct Free {
    void operator()(T* data) const { ::operator delete(data, kAlign); }
  };

  std::unique_ptr<T, Free> data_;
};

}  // namespace petrt
