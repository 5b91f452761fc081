"""The CUDA module in both its forms: on host memory, and on a GPU where there is one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.cuda_device import Device
from tests.gpu.conftest import gpu_module


@pytest.fixture(params=["twin", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Device:
    """Tests written for this run the same on the twin and, where asked for, on a GPU."""
    if request.param == "twin":
        return Device(request.getfixturevalue("cuda_twin"), exact=True)
    return Device(gpu_module(), exact=False)


@pytest.fixture
def twin(cuda_twin: Any) -> Device:
    """The twin alone, for what only it can show."""
    return Device(cuda_twin, exact=True)
