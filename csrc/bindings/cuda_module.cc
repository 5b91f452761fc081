#include <sstream>

#include "cuda_arrays.h"

namespace {

// "80,86" to ("80", "86").
pybind11::tuple architectures() {
  pybind11::list names;
  std::istringstream text(PETRT_CUDA_ARCHITECTURES);
  for (std::string name; std::getline(text, name, ',');) names.append(name);
  return pybind11::tuple(names);
}

}  // namespace

PYBIND11_MODULE(_cuda, module) {
  module.doc() = "Operations and reverse loop of petrt on a GPU. See _cuda.pyi for the shapes.";
  module.attr("__version__") = PETRT_VERSION;
  module.attr("architectures") = architectures();
  petrt::cuda::register_device(module);
  petrt::cuda::register_device_array(module);
  petrt::cuda::register_device_ops(module);
  petrt::cuda::register_device_loop(module);
}
