#include "cuda_arrays.h"

#include "dlpack.h"

namespace petrt::cuda {
namespace {

bool is_contiguous(const std::vector<Index>& shape, const std::vector<Index>& strides, Index unit) {
  Index expected = unit;
  for (std::size_t axis = shape.size(); axis-- > 0; expected *= shape[axis]) {
    if (shape[axis] == 0) return true;
    if (shape[axis] != 1 && strides[axis] != expected) return false;
  }
  return true;
}

std::string place(int type, int id) {
  if (type == dlpack::kCpu || type == dlpack::kCudaHost) return "the CPU";
  return "device " + std::to_string(id) + " of DLPack type " + std::to_string(type);
}

// The tensor in a producer's capsule, released at the end of its lifetime.
std::shared_ptr<dlpack::ManagedTensor> taken(const py::object& capsule, const char* name) {
  void* pointer = PyCapsule_GetPointer(capsule.ptr(), "dltensor");
  if (pointer == nullptr) {
    PyErr_Clear();
    refuse(name, ": expected a DLPack capsule named dltensor from __dlpack__, got ", text(capsule));
  }
  PyCapsule_SetName(capsule.ptr(), "used_dltensor");
  return {static_cast<dlpack::ManagedTensor*>(pointer), [](dlpack::ManagedTensor* tensor) {
            if (tensor->deleter != nullptr) tensor->deleter(tensor);
          }};
}

std::string dtype_text(const dlpack::DataType& type) {
  for (const char* name : {"float32", "float16", "bfloat16", "float64", "uint8", "complex128"}) {
    const Dtype& dtype = dtype_of(name);
    if (type.code == dtype.dlpack_code && type.bits == 8 * dtype.bytes && type.lanes == 1) {
      return name;
    }
  }
  return "DLPack code " + std::to_string(type.code) + " of " + std::to_string(type.bits) + " bits";
}

std::string dtype_text(const std::string& typestr) {
  for (const char* name : {"float32", "float16", "float64", "uint8", "complex128"}) {
    if (typestr == dtype_of(name).typestr) return name;
  }
  return typestr;
}

}  // namespace

// DLPack is tried first, because its protocol lets the producer order its stream before ours.
Borrowed::Borrowed(const py::object& object, const char* name, const Stream& stream)
    : name_(name), stream_(stream) {
  if (py::isinstance<DeviceArray>(object)) {
    from_array(object.cast<const DeviceArray&>());
  } else if (py::hasattr(object, "__dlpack__") && py::hasattr(object, "__dlpack_device__")) {
    from_dlpack(object);
  } else if (py::hasattr(object, "__cuda_array_interface__")) {
    from_interface(object.attr("__cuda_array_interface__"));
  } else {
    refuse(name, ": expected an array on a GPU (with __dlpack__ or __cuda_array_interface__), got ",
           text(py::type::of(object).attr("__name__")));
  }
}

void Borrowed::from_array(const DeviceArray& array) {
  check_device(array.device());
  data_ = array.data();
  shape_ = array.shape();
  dtype_ = array.dtype().name;
}

void Borrowed::from_dlpack(const py::object& object) {
  const py::tuple device = object.attr("__dlpack_device__")();
  const int type = py::int_(device[0]), id = py::int_(device[1]);
  if (type != dlpack::kCuda && type != dlpack::kCudaManaged) {
    refuse(name_, ": expected an array on cuda:", stream_.device(), ", got one on ",
           place(type, id));
  }
  check_device(id);
  const OnDevice current(stream_.device());
  using py::literals::operator""_a;
  const py::object capsule =
      object.attr("__dlpack__")("stream"_a = reinterpret_cast<std::uintptr_t>(stream_.handle()));
  const auto managed = taken(capsule, name_);
  const dlpack::Tensor& tensor = managed->tensor;
  data_ = static_cast<char*>(tensor.data) + tensor.byte_offset;
  shape_.assign(tensor.shape, tensor.shape + tensor.ndim);
  dtype_ = dtype_text(tensor.dtype);
  contiguous_ = tensor.strides == nullptr ||
                is_contiguous(shape_, {tensor.strides, tensor.strides + tensor.ndim}, 1);
  owner_ = managed;
}

void Borrowed::from_interface(const py::dict& interface) {
  const auto absent = [&](const char* key) {
    return !interface.contains(key) || interface[key].is_none();
  };
  const py::tuple data = interface["data"];
  const std::uintptr_t address = py::cast<std::uintptr_t>(data[0]);
  data_ = reinterpret_cast<void*>(address);
  read_only_ = py::cast<bool>(data[1]);
  shape_ = py::cast<std::vector<Index>>(interface["shape"]);
  const std::string typestr = py::cast<std::string>(interface["typestr"]);
  dtype_ = dtype_text(typestr);
  check(absent("mask"), name_, ": expected an array without a mask, got one with a mask");
  if (!absent("strides")) {
    const Index unit = std::stoll(typestr.substr(2));
    contiguous_ = is_contiguous(shape_, py::cast<std::vector<Index>>(interface["strides"]), unit);
  }
  if (address != 0) {  // an array without elements has no address
    cudaPointerAttributes attributes{};
    const OnDevice current(stream_.device());
    check_cuda(cudaPointerGetAttributes(&attributes, data_), "cudaPointerGetAttributes");
    const bool there =
        attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
    check(there, name_, ": expected an array on cuda:", stream_.device(), ", got one on the CPU");
    check_device(attributes.device);
  }
  if (!absent("stream")) wait_for(py::cast<std::uintptr_t>(interface["stream"]));
}

void Borrowed::check_device(int device) const {
  check(device == stream_.device(), name_, ": expected an array on cuda:", stream_.device(),
        ", the stream's device, got one on cuda:", device);
}

void Borrowed::check_data(const char* dtype, std::size_t alignment, bool writing) const {
  check(dtype_ == dtype, name_, ": expected dtype ", dtype, ", got ", dtype_);
  check(contiguous_, name_, ": expected a C-contiguous array, got another layout");
  check(reinterpret_cast<std::uintptr_t>(data_) % alignment == 0, name_,
        ": expected an aligned array, got an address between elements");
  check(!writing || !read_only_, name_, ": expected a writable array, got a read-only one");
}

// 1 and 2 are the default streams in both the interface and the CUDA runtime.
void Borrowed::wait_for(std::uintptr_t handle) const {
  check(handle != 0, name_, ": expected a stream of __cuda_array_interface__ that is not 0");
  if (stream_of(handle) == stream_.handle()) return;
  order(stream_of(handle), stream_.handle(), Event(stream_.device()));
}

}  // namespace petrt::cuda
