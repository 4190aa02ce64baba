"""What all tests share: the same random numbers each time."""

import os

import numpy as np
import pytest
from hypothesis import settings

import minicnn as mc

# Locally hypothesis keeps looking for new examples; in CI a failure must be the change's own.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_addoption(parser):
    parser.addoption(
        "--torture", action="store_true", help="tests/reliability at its full counts: 45 minutes"
    )


@pytest.fixture(autouse=True)
def _gpu(request):
    """Skip what is marked `gpu` where there is none that all of minicnn can use."""
    if request.node.get_closest_marker("gpu"):
        missing = mc.kernels.cuda.availability.survey().missing
        if missing:
            pytest.skip(missing)


@pytest.fixture(autouse=True)
def _fixed_seed():
    mc.manual_seed(0)


@pytest.fixture
def undrawn(monkeypatch):
    """Weights of zeros, for tests that look at shapes and names: large ones take a second."""
    monkeypatch.setattr(
        mc.nn.init, "draw", lambda how, shape, *, rng=None: np.zeros(shape, np.float32)
    )
