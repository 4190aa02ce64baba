"""What all tests share: the same random numbers each time."""

import os

import pytest
from hypothesis import settings

import minicnn as mc

# Locally hypothesis keeps looking for new examples; in CI a failure must be the change's own.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(autouse=True)
def _fixed_seed():
    mc.manual_seed(0)
