"""Streams, memory and errors of the CUDA module."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from petrt.hardware import gpus
from tests.core.cuda_device import Device, Part

DTYPES = {
    "float32": "<f4",
    "float16": "<f2",
    "bfloat16": "<u2",
    "float64": "<f8",
    "complex128": "<c16",
    "uint8": "|u1",
}


@pytest.fixture
def limits(twin: Device) -> Iterator[Any]:
    """The twin's module, with its memory and devices as they were afterwards."""
    yield twin.module
    twin.module.set_memory(8 << 30)
    twin.module.set_devices(2)


def test_arrays(device: Device) -> None:
    for name, typestr in DTYPES.items():
        dtype = np.dtype(typestr)
        array = device.module.DeviceArray((2, 3), name)
        assert (array.shape, array.dtype, array.device) == ((2, 3), name, 0)
        assert array.nbytes == 6 * dtype.itemsize
        interface = array.__cuda_array_interface__
        assert interface["version"] == 3
        assert interface["data"] == (array.ptr, False)
        assert (interface["shape"], interface["typestr"]) == ((2, 3), typestr)
        out = np.ones((2, 3), dtype)
        array.download(out, device.stream)
        device.stream.synchronize()
        assert not out.any()
        values = np.arange(6).reshape(2, 3).astype(dtype)
        array.upload(values, device.stream)
        other = device.module.DeviceArray([2, 3], name)
        other.copy_from(array, device.stream)
        other.download(out, device.stream)
        device.stream.synchronize()
        assert np.array_equal(out, values)


def test_pinned_memory(device: Device) -> None:
    for name, typestr in DTYPES.items():
        array = device.module.pinned((2, 5), name)
        assert (array.shape, array.dtype) == ((2, 5), np.dtype(typestr))
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert not array.any()
    view = device.module.pinned((1000,))[10:20]
    gc.collect()
    view += 1  # the memory lives as long as any view
    assert view.sum() == 10
    assert device.module.pinned((0, 3)).shape == (0, 3)


def test_transfers_are_checked(device: Device) -> None:
    module, stream = device.module, device.stream
    array = module.DeviceArray((2, 3))
    good = np.zeros((2, 3), np.float32)
    read_only = good.copy()
    read_only.flags.writeable = False
    cases = [
        (lambda: array.upload(good[:1], stream), r"host: expected shape \[2, 3\], got \[1, 3\]"),
        (lambda: array.upload(good.astype("f8"), stream), "host: expected dtype float32"),
        (lambda: array.upload(np.asfortranarray(good), stream), "host: expected a C-contiguous"),
        (lambda: array.download(read_only, stream), "host: expected a writable array"),
        (lambda: array.copy_from(module.DeviceArray((3, 2)), stream), "source: expected shape"),
        (lambda: array.copy_from(module.DeviceArray((2, 3), "uint8"), stream), "source: .* dtype"),
        (lambda: module.DeviceArray((2,), "int8"), "dtype: expected float32, float16, bfloat16"),
        (lambda: module.DeviceArray((2, -3)), "shape: expected no negative extent"),
        (lambda: module.DeviceArray((2**40, 2**40)), "shape: expected less than 2.63 bytes"),
        (lambda: module.pinned((2,), "int8"), "dtype: expected float32, float16, bfloat16"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
    array.upload(read_only, stream)


def test_a_stream_waits_for_another(device: Device) -> None:
    module = device.module
    for as_handle in (False, True):
        first, second = module.Stream(), module.Stream()
        array, out = module.DeviceArray((1000,)), np.zeros(1000, np.float32)
        values = np.ones(1000, np.float32)
        array.upload(values, first)
        second.wait(first.handle if as_handle else first)
        array.download(out, second)
        second.synchronize()
        assert out.all()


def test_a_missing_wait_shows_on_the_twin(twin: Device) -> None:
    first, second = twin.module.Stream(), twin.module.Stream()
    array, out = twin.module.DeviceArray((4,)), np.full(4, 7, np.float32)
    array.upload(np.ones(4, np.float32), first)
    array.download(out, second)
    assert (out == 7).all()  # nothing has run
    second.synchronize()
    assert not out.any()  # too early
    first.synchronize()
    assert array.host.all()


def test_work_of_an_array_s_own_stream_comes_first(twin: Device) -> None:
    """Whoever made the array says where; the operation waits there, on the device."""
    module, owner = twin.module, twin.module.Stream()
    r, out = module.DeviceArray((8,)), module.DeviceArray((8,))
    for told in (True, False):
        r.host[...] = 0
        module.host_call(owner, lambda: r.host.fill(3))
        shown = Part(r, 0, (8,), stream=owner.handle if told else None)
        step = np.array([0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
        module.reverse_step(shown, out, out, None, step, 1.0, twin.stream)
        out.copy_from(r, twin.stream)
        twin.stream.synchronize()
        assert out.host.tolist() == [3.0 if told else 0.0] * 8
        owner.synchronize()


class Tensor(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
    ]


class Producer:
    """An array that shows itself by DLPack alone, as another library would."""

    def __init__(self, array: Any, shape: tuple[int, ...], strides: tuple[int, ...] | None) -> None:
        self._keeps, self.streams, self.deleted = array, [], 0
        ints = ctypes.c_int64 * len(shape)
        self._shape = ints(*shape)
        self._strides = ints(*strides) if strides else None

        def delete(_: int) -> None:
            self.deleted += 1

        self._delete = Tensor._fields_[-1][1](delete)
        self.tensor = Tensor(
            array.ptr, 2, 0, len(shape), 2, 32, 1, self._shape, self._strides, 4, None, self._delete
        )

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, stream: int | None = None) -> Any:
        self.streams.append(stream)
        new = ctypes.pythonapi.PyCapsule_New
        new.restype = ctypes.py_object
        new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.addressof(self.tensor), b"dltensor", None)


def test_dlpack(device: Device) -> None:
    """The producer hears our stream, and gets its tensor back; offset and strides are heeded."""
    array, out = device.module.DeviceArray((7,)), device.module.DeviceArray((2, 3))
    array.upload(np.arange(7, dtype=np.float32), device.stream)
    step = np.array([0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    for strides in (None, (3, 1)):
        shown = Producer(array, (2, 3), strides)
        device.module.reverse_step(shown, out, out, None, step, 1.0, device.stream)
        assert shown.streams == [device.stream.handle]
        assert shown.deleted == 1
    shown = Producer(array, (2, 3), (1, 2))
    with pytest.raises(ValueError, match="r: expected a C-contiguous array"):
        device.module.reverse_step(shown, out, out, None, step, 1.0, device.stream)
    assert shown.deleted == 1
    shown = Producer(array, (2, 3), None)
    shown.tensor.code, shown.tensor.bits = 4, 16
    with pytest.raises(ValueError, match="r: expected dtype float32, got bfloat16"):
        device.module.reverse_step(shown, out, out, None, step, 1.0, device.stream)
    shown.tensor.code, shown.tensor.bits = 0, 64
    with pytest.raises(ValueError, match="r: expected dtype float32, got DLPack code 0 of 64 bits"):
        device.module.reverse_step(shown, out, out, None, step, 1.0, device.stream)


def test_timer(device: Device) -> None:
    timer = device.module.Timer()
    for call in (timer.milliseconds, lambda: timer.stop(device.stream)):
        with pytest.raises(ValueError, match="expected a start"):
            call()
    timer.start(device.stream)
    with pytest.raises(ValueError, match="expected a start and a stop"):
        timer.milliseconds()
    device.module.normals(1, 2, 3, 4, device.module.DeviceArray((1 << 16,)), device.stream)
    timer.stop(device.stream)
    assert 0 < timer.milliseconds() < 10_000


def test_out_of_memory(limits: Any) -> None:
    limits.set_memory(limits.memory()[1] - limits.memory()[0] + 10_000)
    with pytest.raises(limits.OutOfMemory, match="cudaMalloc of 40000 bytes: cudaErrorMemory") as e:
        limits.DeviceArray((10_000,))
    assert isinstance(e.value, limits.CudaError)
    assert isinstance(e.value, RuntimeError)
    assert limits.DeviceArray((100,)).nbytes == 400  # the error does not come back
    limits.Stream().synchronize()


def test_a_loop_that_does_not_fit_leaves_nothing_behind(limits: Any) -> None:
    gc.collect()
    free, total = limits.memory()
    limits.set_memory(total - free + 1_000_000)
    coefs, film = np.array([[1.0, 0, 0, 1, 0, 0]]), np.zeros((1, 4), np.float32)
    with pytest.raises(limits.OutOfMemory):
        limits.ReverseLoop(coefs, 1.0, film, 64, 1, 64, 64, 1.0, limits.Stream())
    gc.collect()
    assert limits.memory()[0] == 1_000_000


def test_more_than_the_gpu_has(device: Device) -> None:
    free, total = device.module.memory()
    assert 0 < free <= total
    with pytest.raises(device.module.OutOfMemory):
        device.module.DeviceArray((4 * total,), "uint8")
    device.module.DeviceArray((4,))


def test_no_device(limits: Any) -> None:
    assert limits.device_count() == 2
    limits.set_devices(0)
    with pytest.raises(limits.CudaError, match="cudaErrorNoDevice"):
        limits.device_count()
    with pytest.raises(limits.CudaError, match="cudaSetDevice to 0: cudaErrorInvalidDevice"):
        limits.Stream()


def test_where_a_device_is_built_in(device: Device) -> None:
    module = device.module
    places = [gpus.parse_pci(module.pci_bus_id(index)) for index in range(module.device_count())]
    assert len(set(places)) == len(places) > 0
    assert module.pci_bus_id() == module.pci_bus_id(device=0)
    for absent in (-1, len(places)):
        with pytest.raises(module.CudaError, match="cudaDeviceGetPCIBusId: cudaErrorInvalid"):
            module.pci_bus_id(absent)


def test_another_device(twin: Device) -> None:
    """Work goes to the stream's device, whatever the current one is; arrays of another are refused."""
    module, stream = twin.module, twin.module.Stream(1)
    assert stream.device == 1
    there, here = module.DeviceArray((4,), device=1), module.DeviceArray((4,))
    module.normals(1, 2, 3, 4, there, stream)
    stream.synchronize()
    assert there.host.any()
    with pytest.raises(ValueError, match=r"out: expected an array on cuda:1, .* got one on cuda:0"):
        module.normals(1, 2, 3, 4, here, stream)
    with pytest.raises(ValueError, match=r"out: .* cuda:1, the stream's device, got one on cuda:0"):
        module.normals(1, 2, 3, 4, Part(here, 0, (4,)), stream)
    with pytest.raises(ValueError, match="stream: expected one on cuda:0, got one on cuda:1"):
        here.upload(np.zeros(4, np.float32), stream)
    with pytest.raises(ValueError, match="stream: expected one on cuda:0, got one on cuda:1"):
        module.Timer().start(stream)
    with pytest.raises(module.CudaError, match="cudaErrorInvalidDevice"):
        module.DeviceArray((4,), device=2)
    stream.wait(twin.stream)
    timer = module.Timer(1)
    timer.start(stream)
    timer.stop(stream)
    assert timer.milliseconds() >= 0


def test_failed_work_comes_out_at_the_next_wait(twin: Device) -> None:
    with pytest.raises(TypeError, match="callable"):
        twin.module.DeviceArray((1,)).upload("callable", twin.stream)
    hooks: list[Any] = []

    def fails() -> None:
        raise KeyError("lost")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.unraisablehook", hooks.append)
        twin.module.host_call(twin.stream, fails)
        with pytest.raises(twin.module.CudaError, match="cudaErrorLaunchFailure"):
            twin.stream.synchronize()
    assert hooks[0].exc_type is KeyError
    hooks.clear()
    twin.stream.synchronize()


def test_other_threads_run_while_one_waits(twin: Device) -> None:
    """The GIL is released: work on the stream waits for a thread that needs it."""
    done = threading.Event()
    twin.module.host_call(twin.stream, lambda: done.wait(20))
    threading.Timer(0.05, done.set).start()
    twin.stream.synchronize()
    assert done.is_set()
