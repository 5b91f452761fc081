"""Checks that optional packages are installed before a command imports them."""

from __future__ import annotations

import importlib.util

from petrt.errors import UsageError

# Import name -> usual name.
LABELS = {
    "torch": "PyTorch",
    "accelerate": "accelerate",
    "onnxruntime": "ONNX Runtime",
    "pynetdicom": "pynetdicom",
    "dicomweb_client": "dicomweb-client",
}


def need_torch(command: str) -> None:
    """Raise UsageError, with the command that installs it, if PyTorch is missing."""
    from petrt.hardware.packages import TORCH

    if missing := _missing("torch"):
        raise _needs(command, missing, TORCH)


def need_trainer(command: str) -> None:
    """Raise UsageError, with the command that installs it, if a package for training is missing."""
    from petrt.hardware.packages import extra

    if missing := _missing("torch", "accelerate"):
        raise _needs(command, missing, extra("train"))


def need_network(command: str) -> None:
    """Raise UsageError, with the command that installs it, if a package for DICOM in networks is missing."""
    from petrt.hardware.packages import extra

    if missing := _missing("pynetdicom", "dicomweb_client"):
        raise _needs(command, missing, extra("node"))


def need_exporter(command: str) -> None:
    """Raise UsageError, with the command that installs it, if PyTorch or ONNX Runtime is missing."""
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
