"""The exported bundle: its graphs compute the networks, at any size, and it replays its golden values."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import onnx
import pytest
import torch

from petrt.errors import DeviceError, InputError, UsageError
from petrt.export import export_bundle, export_model
from petrt.export.bundle import rounded
from petrt.export.folding.fold import fold
from petrt.export.graphs import check as verify
from petrt.model.bundle import GOLDEN, MANIFEST, NOISE_BIAS, Bundle, load_bundle
from petrt.nets import Model, save_checkpoint
from tests.export.conftest import NETWORKS, model_spec, scrambled


@pytest.fixture(scope="module", params=list(NETWORKS))
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Model, Path]:
    network = NETWORKS[request.param]
    model, path = scrambled(network), tmp_path_factory.mktemp("export") / "bundle"
    export_model(model, model_spec(network), path)
    return model, path


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    """nas+spectrum with float16 weights."""
    model, path = scrambled(NETWORKS["nas+spectrum"]), tmp_path_factory.mktemp("export") / "bundle"
    export_model(model, model_spec(model.spec), path, precision="fp16-weights")
    return model, path


def test_without_onnxruntime_nothing_is_begun(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(verify, "fold_error", lambda *args: pytest.fail("work was done"))
    model = scrambled(NETWORKS["nas+spectrum"])
    with pytest.raises(DeviceError, match=r"^ONNX Runtime is not .*petrt\[onnxruntime"):
        export_model(model, model_spec(model.spec), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def graphs(bundle: Bundle) -> dict[str, onnx.ModelProto]:
    files = {name: data for name, data in bundle.files.items() if name.endswith(".onnx")}
    return {name[:-5]: onnx.load_model_from_string(data) for name, data in files.items()}


@pytest.mark.parametrize("size", [(4, 4, 1, 1), (8, 20, 1, 3), (24, 4, 3, 1), (8, 8, 2, 4)])
def test_graphs_follow_pytorch_at_any_size(exported, size):
    model, path = exported
    folded = fold(model)
    with torch.no_grad():
        values = verify.run_folded(model, folded, verify.probe(model, *size, torch.float32))
    for graph, part in folded.parts.items():
        session = verify.open_session(path / f"{graph}.onnx")
        assert [i.name for i in session.get_inputs()] == part.inputs
        assert [o.name for o in session.get_outputs()] == part.outputs
        feed = {name: values[name].numpy() for name in part.inputs}
        for name, found in zip(part.outputs, session.run(None, feed), strict=True):
            assert verify.relative_error(found, values[name]) < 2e-5


def test_golden_values_replay(exported: tuple[Model, Path]) -> None:
    replay(exported[1])


def replay(path: Path) -> None:
    bundle = load_bundle(path)
    golden = bundle.golden()
    checked = 0
    for graph in graphs(bundle):
        session = verify.open_session(path / f"{graph}.onnx")
        feed = {i.name: golden[f"{graph}/in/{i.name}"] for i in session.get_inputs()}
        names = [o.name for o in session.get_outputs()]
        for name, found in zip(names, session.run(names, feed), strict=True):
            assert verify.relative_error(found, golden[f"{graph}/out/{name}"]) < 2e-5
            checked += 1
    assert checked == sum("/out/" in name for name in golden) > 0


def test_graphs_are_clean(exported: tuple[Model, Path]) -> None:
    """Dynamic batch, H and W; nothing stored twice; no constant or input left unused."""
    for name, model in graphs(load_bundle(exported[1])).items():
        graph = model.graph
        for value in (*graph.input, *graph.output):
            dims = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
            if value.name == "film":
                assert dims[0] == 1
                continue
            batch = "images" if value.name in ("r", "eps") else "slices"
            assert dims[0] == batch, name
            if value.name == "dose":
                assert len(dims) == 1
                continue
            scale = dims[2].removeprefix("height")
            assert dims[2:] == [f"height{scale}", f"width{scale}"]
        used = {i for node in graph.node for i in node.input}
        assert {i.name for i in graph.input} <= used
        assert {i.name for i in graph.initializer} <= used
        large = [i.raw_data for i in graph.initializer if len(i.raw_data) >= 256]
        assert len({hashlib.sha256(data).digest() for data in large}) == len(large)
        assert not any(i.external_data for i in graph.initializer)
        assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]


def test_manifest(tmp_path: Path) -> None:
    """From a checkpoint: the specification, where it came from, and the errors measured."""
    model = scrambled(NETWORKS["nas+spectrum"])
    spec = model_spec(model.spec).model_copy(update={"sigma_r": 0.05})
    save_checkpoint(tmp_path / "checkpoint", model, spec, step=12)
    manifest = export_bundle(tmp_path / "checkpoint", tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.manifest == manifest
    assert bundle.model == spec
    assert {p.name for p in (tmp_path / "bundle").iterdir()} == {*manifest.files, MANIFEST}
    assert {NOISE_BIAS, GOLDEN} < manifest.files.keys()
    assert manifest.export["source"] == {"step": 12}
    assert manifest.export["precision"] == "fp32"
    verified = manifest.export["verified"]
    assert verified["fold"].keys() == {"x_cp", "eps"}
    assert max(verified["fold"].values()) < verify.FOLD_TOLERANCE
    assert verified["runtime"].keys() == {"guidance", "coarse", "denoiser", "noise_bias"}
    assert 0 < max(verified["runtime"].values()) < verify.RUNTIME_TOLERANCE


def test_exporting_twice_gives_the_same_files(exported: tuple[Model, Path], tmp_path: Path) -> None:
    model, path = exported
    again = export_model(model, model_spec(model.spec), tmp_path / "again")
    first = load_bundle(path).manifest.files
    assert again.files == first


def test_half_weights(halved: tuple[Model, Path]) -> None:
    """Stored as float16, computed as float32: exactly the network whose weights were rounded."""
    model, path = halved
    bundle = load_bundle(path)
    for graph in graphs(bundle).values():
        kinds = {i.name: i.data_type for i in graph.graph.initializer}
        convs = [node for node in graph.graph.node if node.op_type == "Conv"]
        casts = {n.output[0]: n.input[0] for n in graph.graph.node if n.op_type == "Cast"}
        assert len(convs) == len(casts) > 0
        for node in convs:
            assert kinds[casts[node.input[1]]] == onnx.TensorProto.FLOAT16
    assert 0 < max(bundle.manifest.export["verified"]["rounding"].values()) < 1e-2
    replay(path)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        rounded(fold(model))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("value", "precision", "message"),
    [
        (float("nan"), "fp32", r"the model is not finite: coarse\.head\.conv\.weight"),
        (1e5, "fp16-weights", "not finite"),
        (3e38, "fp32", "ONNX Runtime against PyTorch: coarse is not finite"),
    ],
)
def test_what_is_not_finite_is_refused(tmp_path: Path, value, precision, message) -> None:
    model = scrambled(NETWORKS["none"])
    with torch.no_grad():
        model.coarse.head.conv.weight.fill_(value)
    with pytest.raises(InputError, match=message):
        export_model(model, model_spec(model.spec), tmp_path / "bundle", precision=precision)
    assert list(tmp_path.iterdir()) == []


def test_only_a_bundle_is_ever_overwritten(tmp_path: Path) -> None:
    model = scrambled(NETWORKS["none"])
    spec, path = model_spec(model.spec), tmp_path / "bundle"
    path.mkdir()
    (path / "scan.nii").write_text("the only copy")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="bundle exists"):
            export_model(model, spec, path, overwrite=overwrite)
    assert (path / "scan.nii").read_text() == "the only copy"
    export_model(model, spec, tmp_path / "good")
    with pytest.raises(UsageError, match="good exists"):
        export_model(model, spec, tmp_path / "good")
    manifest = export_model(model, spec, tmp_path / "good", upsample="transposed", overwrite=True)
    assert load_bundle(tmp_path / "good").manifest == manifest
    nodes = graphs(load_bundle(tmp_path / "good"))["coarse"].graph.node
    assert "ConvTranspose" in {node.op_type for node in nodes}
