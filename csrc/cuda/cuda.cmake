# The module _cuda, where there is a working nvcc; PETRT_CUDA=ON fails without one.

if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(PETRT_NVCC nvcc HINTS ENV CUDA_PATH ENV CUDA_HOME PATH_SUFFIXES bin
               PATHS /usr/local/cuda/bin)
  if(PETRT_NVCC)
    set(ENV{CUDACXX} ${PETRT_NVCC})
  endif()
endif()
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES "$ENV{CUDAARCHS}")
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES OFF)  # or CMake would cache the compiler's default as if it were chosen
  endif()
endif()
include(CheckLanguage)
check_language(CUDA)
if(CMAKE_CUDA_COMPILER)
  enable_language(CUDA)
  find_package(CUDAToolkit QUIET)
endif()
if(NOT CMAKE_CUDA_COMPILER)
  set(missing "no working nvcc was found")
elseif(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.0)
  set(missing "nvcc ${CMAKE_CUDA_COMPILER_VERSION} is older than 12.0")
elseif(NOT TARGET CUDA::cudart_static)
  set(missing "the CUDA toolkit of ${CMAKE_CUDA_COMPILER} has no static runtime")
endif()
if(missing AND PETRT_CUDA STREQUAL "ON")
  message(FATAL_ERROR "PETRT_CUDA=ON: ${missing}; set CUDACXX to the nvcc of a CUDA toolkit, or "
                      "PETRT_CUDA=OFF for the CPU part alone")
elseif(missing)
  message(STATUS "PETRT_CUDA=AUTO: ${missing}; building the CPU part")
  return()
endif()

# Machine code for the GPUs in use, and PTX of the newest, which the driver compiles for later ones.
if(CMAKE_CUDA_ARCHITECTURES MATCHES "^(native|all|all-major)$")  # numbers are told, not such words
  string(REPLACE "-" "_" which "${CMAKE_CUDA_ARCHITECTURES}")
  string(TOUPPER "${which}" which)
  set(architectures ${CMAKE_CUDA_ARCHITECTURES_${which}})
  if(NOT architectures MATCHES "[0-9]")
    message(FATAL_ERROR "CMAKE_CUDA_ARCHITECTURES=${CMAKE_CUDA_ARCHITECTURES}: nvcc names none here")
  endif()
elseif(CMAKE_CUDA_ARCHITECTURES)
  set(architectures ${CMAKE_CUDA_ARCHITECTURES})
elseif(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.8)
  set(architectures 80-real 86-real 89-real 90)
else()
  set(architectures 80-real 86-real 89-real 90-real 120)
endif()
string(REGEX REPLACE "-(real|virtual)" "" names "${architectures}")
list(REMOVE_DUPLICATES names)
list(JOIN names "," names)
message(STATUS "PETRT_CUDA=${PETRT_CUDA}: building for ${names} with nvcc "
               "${CMAKE_CUDA_COMPILER_VERSION} (${CMAKE_CUDA_COMPILER})")

add_library(petrt_cuda STATIC
  csrc/cuda/device_array.cc
  csrc/cuda/device_loop.cc
  csrc/cuda/elementwise.cu
  csrc/cuda/error.cc
  csrc/cuda/graph.cc
  csrc/cuda/run_keys.cc
  csrc/cuda/runtime.cc
  csrc/cuda/spectrum.cu)
set_target_properties(petrt_cuda PROPERTIES
  CUDA_ARCHITECTURES "${architectures}"
  CUDA_STANDARD 17
  CUDA_STANDARD_REQUIRED ON
  CUDA_RUNTIME_LIBRARY Static
  CUDA_VISIBILITY_PRESET hidden)
# As on the CPU: products and sums are rounded one by one.
target_compile_options(petrt_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:
  -fmad=false -Xcompiler=-Wall,-Wextra
  $<$<BOOL:${PETRT_WERROR}>:-Werror=all-warnings>>)
target_include_directories(petrt_cuda PUBLIC csrc/include)
target_link_libraries(petrt_cuda PUBLIC CUDA::cudart_static ${CMAKE_DL_LIBS} PRIVATE petrt_flags)

pybind11_add_module(_cuda MODULE
  csrc/bindings/cuda_arrays.cc
  csrc/bindings/cuda_device.cc
  csrc/bindings/cuda_device_array.cc
  csrc/bindings/cuda_loop.cc
  csrc/bindings/cuda_module.cc
  csrc/bindings/cuda_ops.cc)
target_link_libraries(_cuda PRIVATE petrt_cuda petrt_flags)
target_compile_definitions(_cuda PRIVATE PETRT_VERSION="${version}"
                           "PETRT_CUDA_ARCHITECTURES=\"${names}\"")
# Compiled as one file: pybind11 costs five seconds in each.
set_target_properties(_cuda PROPERTIES CUDA_RUNTIME_LIBRARY Static
                      UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)
install(TARGETS _cuda LIBRARY DESTINATION petrt)
