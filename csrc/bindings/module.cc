#include "arrays.h"

PYBIND11_MODULE(_core, module) {
  module.doc() =
      "Noise, reverse steps and sample statistics of petrt. See _core.pyi for the shapes.";
  module.attr("__version__") = PETRT_VERSION;
  petrt::register_native(module);
  petrt::register_ops(module);
  petrt::register_reverse_loop(module);
}
