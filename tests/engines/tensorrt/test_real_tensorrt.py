"""What a machine without a GPU tells of the real bindings of TensorRT for RTX."""

from __future__ import annotations

from tests.export.tensorrt import rtx

CHECK = """
import inspect, re
import tensorrt_rtx as trt
from tests.engines.tensorrt import fake_tensorrt as fake

calls = 0
for played in (*fake.CLASSES, *fake.RTX_CLASSES):
    kind = getattr(trt, {"RtxContext": "IExecutionContext"}.get(played.__name__, played.__name__))
    names = getattr(played, "__members__", None) or vars(played)
    for name in set(names) - fake.NOT_THERE:
        if name.startswith("_"):
            continue
        assert hasattr(kind, name), f"{kind.__name__} has no {name}"
        if not inspect.isfunction(names[name]):
            continue
        calls += 1
        signatures = re.findall(rf"{name}\\((.*?)\\) ->", getattr(kind, name).__doc__)
        real = [tuple(re.findall(r"(?:^|, )(\\w+):", each)) for each in signatures]
        mine = tuple(inspect.signature(names[name]).parameters)
        assert mine in real, f"{kind.__name__}.{name} takes {real}, played with {mine}"
print(calls)
"""


@rtx.needs_rtx
def test_every_call_of_the_fake_is_one_of_the_real_bindings(tmp_path):
    """By name and by the names of its parameters."""
    done = rtx.run(rtx.python("-c", CHECK), tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


REFUSE = """
import tensorrt_rtx as trt
from petrt.engines.tensorrt.log import Errors, log_of

errors = Errors(trt)
runtime = trt.Runtime(log_of(trt))
runtime.error_recorder = errors.recorder
assert runtime.deserialize_cuda_engine(b"no plan" * 100) is None
assert errors and not errors.out_of_memory
print(errors.take())
assert not errors
"""


@rtx.needs_rtx
def test_the_real_runtime_refuses_what_is_no_plan(tmp_path):
    done = rtx.run(rtx.python("-c", REFUSE), tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert "Error Code" in done.stdout
