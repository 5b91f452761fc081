"""What tests of several folders need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def brain_template() -> Path:
    """A real FDG brain volume (91 x 109 x 91, 2 mm); the test is skipped where it is absent.

    Looked for in the folder $PETRT_DATA, else in ``shared/data`` beside the repository.
    """
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("PETRT_DATA", beside)) / "brain_fdg_template.nii.gz"
    if not path.exists():
        pytest.skip("no brain_fdg_template.nii.gz; set PETRT_DATA to its folder")
    return path


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the ``tiny`` networks with random weights, exported once."""
    torch = pytest.importorskip("torch")
    from petrt.export.onnx import export_model
    from petrt.nets import Model
    from petrt.nets.presets import PRESETS
    from petrt.spec import DomainSpec, ModelSpec

    torch.manual_seed(0)
    spec = ModelSpec(
        name="tiny",
        network=PRESETS["tiny"],
        domain=DomainSpec(voxel_mm=(2.0, 2.0, 2.0), matrix=(32, 32)),
        sigma_r=0.05,
        clip=20.0,
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    export_model(Model(spec.network), spec, folder)
    return folder
