"""What importing and reconstructing must do without: torch, network, time."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

import petrt


def python(code: str) -> str:
    """Run ``code`` in a fresh interpreter; its stdout."""
    script = textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


HIDE = """
import socket, sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("torch is hidden")
sys.meta_path.insert(0, NoTorch())
def refuse(*args, **kwargs):
    raise AssertionError("network access")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
"""


def test_reconstruct_needs_neither_torch_nor_network(tiny_bundle, tmp_path):
    out = tmp_path / "out.nii.gz"
    python(
        HIDE
        + f"""
import numpy, nibabel, petrt
data = numpy.random.default_rng(0).random((16, 16, 3)).astype("float32")
nibabel.Nifti1Image(data, numpy.eye(4)).to_filename({str(tmp_path / "in.nii.gz")!r})
petrt.reconstruct(
    {str(tmp_path / "in.nii.gz")!r}, {str(out)!r}, model={str(tiny_bundle)!r}, samples=2,
    allow_activity_change=True,
)
assert "torch" not in sys.modules
"""
    )
    assert out.exists()


def test_import_loads_no_heavy_package():
    heavy = python(
        """
        import sys, petrt
        names = ("torch", "onnxruntime", "onnx", "scipy", "matplotlib", "skimage", "pydantic", "typer",
            "rich", "IPython", "nibabel", "pydicom", "petrt.errors")
        print([n for n in names if n in sys.modules])
        """
    )
    assert heavy.strip() == "[]"


def test_public_names_resolve():
    for name in petrt.__all__:
        assert getattr(petrt, name) is not None
    with pytest.raises(AttributeError):
        petrt.nothing  # noqa: B018
