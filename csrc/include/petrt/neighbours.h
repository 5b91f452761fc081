// The slice in each channel of the stack of neighbouring slices.
#pragma once

#include "petrt/hostdevice.h"
#include "petrt/view.h"

namespace petrt {

constexpr Index kNeighbours = 5;  // slices z-2 .. z+2

// Sec. 3.2: channel 0 is z-2, channel 4 is z+2; a neighbour outside the volume is the centre slice.
PETRT_HD inline Index neighbour(Index centre, Index channel, Index depth) {
  const Index wanted = centre + channel - kNeighbours / 2;
  return wanted >= 0 && wanted < depth ? wanted : centre;
}

}  // namespace petrt
