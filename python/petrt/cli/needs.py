"""Optional parts, asked for before they are imported."""

from __future__ import annotations

import importlib.util

from petrt.errors import UsageError

# Import name -> how people call it.
LABELS = {"torch": "PyTorch", "accelerate": "accelerate", "onnxruntime": "ONNX Runtime"}


def need_torch(command: str) -> None:
    """Raise UsageError, with the way to get it, where PyTorch is not installed."""
    from petrt.hardware.packages import TORCH

    if missing := _missing("torch"):
        raise _needs(command, missing, TORCH)


def need_trainer(command: str) -> None:
    """The same of what training takes."""
    from petrt.hardware.packages import extra

    if missing := _missing("torch", "accelerate"):
        raise _needs(command, missing, extra("train"))


def need_exporter(command: str) -> None:
    """The same of what an export takes: ONNX Runtime runs what PyTorch has written."""
    missing = _missing("torch", "onnxruntime")
    if not missing:
        return
    from petrt.hardware import machine, packages

    if missing == ["onnxruntime"]:
        raise _needs(command, missing, machine.onnxruntime_command())
    on_gpu = "-gpu" if machine.driver().card else ""
    names = {"torch": "torch", "onnxruntime": f"onnxruntime{on_gpu}"}
    raise _needs(command, missing, packages.extra(*(names[each] for each in missing)))


def _missing(*modules: str) -> list[str]:
    return [module for module in modules if importlib.util.find_spec(module) is None]


def _needs(command: str, missing: list[str], fix: str) -> UsageError:
    return UsageError(f"{command} needs {' and '.join(LABELS[each] for each in missing)}", fix)
