// Named ranges in the timeline of a profiler. They do nothing if the toolkit has no NVTX.
#pragma once

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define PETRT_NVTX 1
#else
#define PETRT_NVTX 0
#endif

namespace petrt::cuda {

class ProfilerRange {
 public:
#if PETRT_NVTX
  explicit ProfilerRange(const char* name) { nvtxRangePushA(name); }
  ~ProfilerRange() { nvtxRangePop(); }
#else
  explicit ProfilerRange(const char*) {}
  ~ProfilerRange() {}
#endif
  ProfilerRange(const ProfilerRange&) = delete;
  ProfilerRange& operator=(const ProfilerRange&) = delete;
};

}  // namespace petrt::cuda
