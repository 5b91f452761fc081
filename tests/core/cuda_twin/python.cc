// What tests do with the twin besides calling the module; reached through ctypes.
#include <Python.h>

#include "twin.h"

#define EXPORTED extern "C" __attribute__((visibility("default")))

using twin::Lock;
using twin::state;

namespace {

// A reference that any thread may drop.
std::shared_ptr<PyObject> held(PyObject* object) {
  Py_INCREF(object);
  return {object, [](PyObject* kept) {
            const PyGILState_STATE gil = PyGILState_Ensure();
            Py_DECREF(kept);
            PyGILState_Release(gil);
          }};
}

void call(PyObject* callable) {
  const PyGILState_STATE gil = PyGILState_Ensure();
  PyObject* const result = PyObject_CallNoArgs(callable);
  if (result == nullptr) {
    PyErr_WriteUnraisable(callable);
    state().failure = cudaErrorLaunchFailure;
  }
  Py_XDECREF(result);
  PyGILState_Release(gil);
}

}  // namespace

// Enqueues a Python call, as a kernel of the tests' own.
EXPORTED int twin_host_call(std::uintptr_t stream, PyObject* callable) {
  const Lock lock;
  return twin::enqueue(reinterpret_cast<cudaStream_t>(stream),
                       [kept = held(callable)] { call(kept.get()); });
}

// Pieces of work that wait on a stream.
EXPORTED std::size_t twin_pending(std::uintptr_t stream) {
  const Lock lock;
  const TwinStream* const found = twin::find(reinterpret_cast<cudaStream_t>(stream));
  return found == nullptr ? 0 : found->queue.size();
}

EXPORTED void twin_set_memory(std::size_t bytes) {
  const Lock lock;
  state().memory = bytes;
}

EXPORTED void twin_set_devices(int count) {
  const Lock lock;
  state().devices = count;
}
