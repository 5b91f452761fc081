"""What is told of optional packages without importing them, from folders that stand in for them."""

from __future__ import annotations

import sys

import pytest

from petrt.hardware import packages

ALL = (
    *(packages.onnxruntime, packages.openvino, packages.torch),
    *(packages.cupy, packages.tensorrt, packages.tensorrt_rtx),
)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """An empty place for packages, the only one Python looks at meanwhile."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    names = [each.__name__ for each in ALL]
    for name in (*names, "tensorrt_bindings"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def add(module: str, distribution: str, version: str, **files: str) -> None:
        """A package that must not be imported, its metadata, and ``files`` (path with __ for /)."""
        folder = tmp_path / module
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").write_text("raise SystemExit('imported')")
        for name, text in files.items():
            path = folder / name.replace("__", "/").replace("_DOT_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        info = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        text = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        (info / "METADATA").write_text(text)

    add.folder = tmp_path
    return add


@pytest.mark.parametrize("ask", ALL)
def test_what_is_not_installed_is_none(site, ask):
    assert ask() is None


@pytest.mark.parametrize(
    ("line", "cuda"),
    [("cuda: Optional[str] = '13.0'", "13.0"), ("cuda = '12.8'", "12.8"), ("cuda: str = None", "")],
)
def test_torch_tells_its_cuda_in_a_file(site, line, cuda):
    site("torch", "torch", "2.9.0", version_DOT_py=f"__version__ = '2.9.0'\n{line}\nhip = None\n")
    found = packages.torch()
    assert (found.version, found.cuda, found.broken) == ("2.9.0", cuda, None)


def test_torch_without_its_version_file_is_broken(site):
    site("torch", "torch", "2.9.0")
    assert packages.torch().broken == "its version.py is missing"


def test_onnxruntime_with_and_without_the_cuda_provider(site):
    site("onnxruntime", "onnxruntime", "1.30.0")
    assert packages.onnxruntime().cuda == ""
    site.folder.joinpath("onnxruntime", "capi").mkdir()
    provider = site.folder / "onnxruntime" / "capi" / "libonnxruntime_providers_cuda.so"
    provider.write_text("")
    assert packages.onnxruntime().cuda == "yes"


def test_two_distributions_of_one_module_are_broken(site):
    site("onnxruntime", "onnxruntime", "1.30.0")
    site("onnxruntime", "onnxruntime-gpu", "1.30.0")
    assert "both installed" in packages.onnxruntime().broken
    site("cupy", "cupy-cuda12x", "14.0")
    assert (packages.cupy().cuda, packages.cupy().broken) == ("12", None)
    site("cupy", "cupy-cuda13x", "14.0")
    assert "both installed" in packages.cupy().broken


def test_a_folder_left_by_an_uninstall_is_broken(site):
    site.folder.joinpath("cupy").mkdir()
    found = packages.cupy()
    assert found.version is None
    assert "left by an uninstall" in found.broken


def test_tensorrt_bindings_alone_are_broken(site):
    site("tensorrt_bindings", "tensorrt-cu13-bindings", "11.4.0")
    found = packages.tensorrt()
    assert found.version == "11.4.0"
    assert "no libraries" in found.broken
    site("tensorrt", "tensorrt-cu13", "11.4.0")
    site("tensorrt_libs", "tensorrt-cu13-libs", "11.4.0")
    found = packages.tensorrt()
    assert (found.distribution, found.cuda, found.broken) == ("tensorrt-cu13", "13", None)


def test_damaged_metadata_is_no_version(site):
    site("tensorrt_rtx", "tensorrt-rtx", "1.7.1")
    next(site.folder.glob("*.dist-info")).joinpath("METADATA").write_bytes(b"\xff\xfe")
    found = packages.tensorrt_rtx()
    assert (found.name, found.version, found.broken) == ("tensorrt_rtx", None, None)
