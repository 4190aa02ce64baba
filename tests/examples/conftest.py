"""Examples as modules, and the quick run of each, which all tests of it share."""

import importlib.util
from pathlib import Path

import pytest

folder = Path(__file__).parents[2] / "examples"
names = sorted({path.stem for path in folder.glob("*.py")} - {"gallery"})  # it runs the others


def load(name):
    """Return an example as a module."""
    specification = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def quick(tmp_path_factory):
    """Return a function from the name of an example to its figures and the folder it wrote."""
    done = {}

    def run(name):
        if name not in done:
            out = tmp_path_factory.mktemp(name)
            done[name] = load(name).main(quick=True, out=out), out
        return done[name]

    return run
