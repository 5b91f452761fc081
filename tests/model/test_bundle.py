"""Bundles: what is read back is what was written, and what is unfit is refused before anything runs."""

from __future__ import annotations

import json
import shutil
import stat
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from petrt.engines import select_engine
from petrt.errors import InputError
from petrt.model.bundle import GOLDEN, KNOWN, MANIFEST, load_bundle
from tests.model.rewritten import rewrite, zipped


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A bundle that a test may damage."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def test_directory_and_archive_are_the_same(tiny_bundle, tmp_path):
    folder = load_bundle(tiny_bundle)
    archive = load_bundle(zipped(tiny_bundle, tmp_path / "model.zip"))
    assert folder.files == archive.files
    assert folder.identity == archive.identity
    assert set(folder.files) <= KNOWN
    assert folder.model.label == "not for diagnostic use"


def test_a_folder_of_the_same_name_does_not_hide_a_shipped_model(
    tiny_bundle, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert load_bundle("demo").model.name == "demo"
    shutil.copytree(tiny_bundle, tmp_path / "demo", dirs_exist_ok=True)
    assert load_bundle("demo").model.name == "tiny"


@pytest.mark.parametrize("model", ["tiny", "demo"])
def test_golden_values_replay(tiny_bundle, model):
    """The exporter's own inputs and outputs, through the engine."""
    bundle = load_bundle(tiny_bundle if model == "tiny" else model)
    engine = select_engine(bundle, "onnxruntime", "cpu")
    golden = bundle.golden()
    graphs = sorted({name.split("/")[0] for name in golden})
    assert graphs == ["coarse", "denoiser", "guidance"]
    for graph in graphs:
        inputs = {n.split("/")[2]: v for n, v in golden.items() if n.startswith(f"{graph}/in/")}
        expected = {n.split("/")[2]: v for n, v in golden.items() if n.startswith(f"{graph}/out/")}
        inputs = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        outputs = {name: np.full_like(value, np.nan) for name, value in expected.items()}
        engine.bind(graph, inputs, outputs)()
        for name, value in expected.items():
            scale = np.abs(value).max()
            np.testing.assert_allclose(outputs[name], value, atol=1e-5 * scale, rtol=0)


def _renamed_input(data: bytes) -> bytes:
    model = onnx.load_model_from_string(data)
    old = model.graph.input[0].name
    model.graph.input[0].name = "somebody_else"
    for node in model.graph.node:
        node.input[:] = ["somebody_else" if name == old else name for name in node.input]
    return model.SerializeToString()


def _external(location: str):
    def change(data: bytes) -> bytes:
        model = onnx.load_model_from_string(data)
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", location
        return model.SerializeToString()

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: b"", "empty ONNX model"),
        (lambda data: data[:5000], "coarse.onnx"),
        (lambda data: bytes(4000), "coarse.onnx"),
        (_renamed_input, "inputs do not match: .*somebody_else"),
        (_external("../secret.bin"), "in another file"),
        (_external("/etc/passwd"), "in another file"),
        (_external("golden.safetensors"), "in another file"),
    ],
)
def test_bad_onnx_is_refused(copy, change, says):
    rewrite(copy, "coarse.onnx", change((copy / "coarse.onnx").read_bytes()))
    with pytest.raises(InputError, match=says):
        select_engine(load_bundle(copy), "onnxruntime", "cpu")


def _without_last_step(data: bytes) -> bytes:
    found = json.loads(data)
    found["steps"].pop()
    return json.dumps(found).encode()


def _other_input(data: bytes) -> bytes:
    named = data.replace(b'"x": [', b'"somebody_else": [')
    return named.replace(b'"x": "x"', b'"x": "somebody_else"')


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("coarse.json", lambda data: b"", r"coarse\.json"),
        ("coarse.json", lambda data: data[:5000], r"coarse\.json"),
        ("coarse.json", lambda data: bytes(4000), r"coarse\.json"),
        ("coarse.json", lambda data: data.replace(b'"concat"', b'"convolve"'), "convolve"),
        ("coarse.json", _without_last_step, "x_cp is not computed"),
        ("coarse.json", _other_input, "inputs do not match: .*somebody_else"),
        ("coarse.safetensors", lambda data: b"", "broken safetensors file"),
        ("coarse.safetensors", lambda data: data[:5000], "broken safetensors file"),
        ("coarse.safetensors", lambda data: bytes(4000), "broken safetensors file"),
    ],
)
def test_bad_steps_are_refused(copy, name, change, says):
    rewrite(copy, name, change((copy / name).read_bytes()))
    with pytest.raises(InputError, match=says) as refused:
        select_engine(load_bundle(copy))
    assert "\n" not in str(refused.value)


def test_external_data_is_refused_through_links(copy, tmp_path):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"\0" * 4096)
    (copy / "hard.bin").hardlink_to(secret)
    (copy / "soft.bin").symlink_to(secret)
    data = (copy / "coarse.onnx").read_bytes()
    for name in ("hard.bin", "soft.bin"):
        rewrite(copy, "coarse.onnx", _external(name)(data))
        with pytest.raises(InputError, match="in another file"):
            load_bundle(copy).onnx("coarse")


def test_altered_file_is_refused(copy):
    data = bytearray((copy / "denoiser.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "denoiser.onnx").write_bytes(data)
    with pytest.raises(InputError, match=r"denoiser\.onnx .* is not the file of its manifest"):
        load_bundle(copy)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda m: m.update(version=3), "version 3"),
        (lambda m: m.update(version=[2]), "version"),
        (lambda m: m["files"].pop("coarse.json"), "holds"),
        (lambda m: m.update(format="other"), "format"),
        (lambda m: m["model"].update(sigma_r=-1), "sigma_r"),
        (lambda m: m["model"].update(surprise=1), "surprise"),
        (lambda m: m["files"].pop("coarse.onnx"), "holds"),
        (lambda m: m["files"].update({"../x": m["files"]["coarse.onnx"]}), "lists"),
    ],
)
def test_bad_manifest_is_refused(copy, edit, says):
    manifest = json.loads((copy / MANIFEST).read_text())
    edit(manifest)
    (copy / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=says):
        load_bundle(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00", "[" * 100_000])
def test_manifest_that_is_no_manifest(copy, text):
    (copy / MANIFEST).write_text(text)
    with pytest.raises(InputError, match=r"model\.json"):
        load_bundle(copy)


def test_missing_file_and_no_model(copy, tmp_path):
    (copy / "coarse.onnx").unlink()
    with pytest.raises(InputError, match=r"no coarse\.onnx"):
        load_bundle(copy)
    with pytest.raises(InputError, match="no model 'nowhere'"):
        load_bundle("nowhere")
    with pytest.raises(InputError, match=r"no model\.json"):
        load_bundle(tmp_path)


def _member(name: str, *, link: bool = False):
    def add(archive: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo(name)
        if link:
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, b"/etc/passwd")

    return add


@pytest.mark.parametrize(
    ("add", "says"),
    [
        (_member("../evil"), "unexpected member"),
        (_member("/abs"), "unexpected member"),
        (_member("coarse.onnx/../../x"), "unexpected member"),
        (_member(GOLDEN, link=True), "link"),
    ],
)
def test_bad_archive_is_refused_and_nothing_is_written(copy, tmp_path, add, says):
    (copy / GOLDEN).unlink()
    archive = zipped(copy, tmp_path / "model.zip")
    with zipfile.ZipFile(archive, "a") as stream:
        add(stream)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=says):
        load_bundle(archive)
    assert sorted(tmp_path.rglob("*")) == before


def test_archive_bomb_is_read_no_further_than_the_manifest_says(copy, tmp_path):
    # 64 MiB of zeros in a member that the manifest gives 92 kB.
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as stream:
        for file in copy.iterdir():
            if file.name != "coarse.onnx":
                stream.write(file, file.name)
        with stream.open("coarse.onnx", "w", force_zip64=True) as member:
            for _ in range(64):
                member.write(bytes(1 << 20))
    with pytest.raises(InputError, match="is not the file of its manifest"):
        load_bundle(archive)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"<html>"])
def test_archive_that_is_none(tmp_path, content):
    path = tmp_path / "model.zip"
    path.write_bytes(content)
    with pytest.raises(InputError, match="neither a folder nor a"):
        load_bundle(path)


def test_archive_with_a_broken_member(copy, tmp_path):
    archive = zipped(copy, tmp_path / "model.zip")
    data = bytearray(archive.read_bytes())
    start = data.index(b"coarse.onnx") + 200
    data[start : start + 50] = bytes(50)
    archive.write_bytes(data)
    with pytest.raises(InputError, match=r"coarse\.onnx"):
        load_bundle(archive)
