"""What tests of several folders need."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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
def cuda_twin(request: pytest.FixtureRequest) -> Any:
    """petrt._cuda compiled for host memory: see tests/core/cuda_twin/build.py. Built once per change."""
    from tests.core.cuda_twin import build

    if build.compiler() is None:
        pytest.skip("needs a C++ compiler")
    return build.load(build.build(request.config.cache.mkdir("cuda_twin")))


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the ``tiny`` networks with random weights, exported once."""
    from petrt.export.bundle import export_model
    from tests.models import tiny_model, tiny_spec

    folder = tmp_path_factory.mktemp("models") / "tiny"
    export_model(tiny_model(), tiny_spec(), folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_bundle: Path) -> Any:
    """``tiny_bundle``, read."""
    from petrt.model.bundle import load_bundle

    return load_bundle(tiny_bundle)


@pytest.fixture(scope="session")
def dose_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ``tiny_bundle``, of networks that take the dose; trained on 1/100 to 1/4, mostly on 1/20."""
    from petrt.export.bundle import export_model
    from tests.export.conftest import NETWORKS, scrambled
    from tests.models import tiny_spec

    spec, network = tiny_spec(), NETWORKS["dose"]
    trained = {"dose_fraction": 0.05, "dose_range": (0.01, 0.25)}
    domain = spec.domain.model_copy(update=trained)
    folder = tmp_path_factory.mktemp("models") / "dose"
    export_model(
        scrambled(network), spec.model_copy(update={"network": network, "domain": domain}), folder
    )
    return folder
