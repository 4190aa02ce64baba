"""The house stands on one-way floors: a room imports only from rooms below it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

root = Path(__file__).parents[1]

# From the ground up; a file belongs to the longest name that it begins with.
floors = [
    {
        "minicnn.kernels",
        "minicnn.rng",
        "minicnn.axes",
        "minicnn.field",
        "minicnn.mistake",
    },
    {"minicnn.arithmetic", "minicnn.workers"},
    {"minicnn.autograd"},
    {
        "minicnn.ops",
        "minicnn.optim",
        "minicnn.data",
        "minicnn.images",
        "minicnn.checkpoint",
        "minicnn.torch_checkpoint",
        "minicnn.gradient_check",
    },
    {"minicnn.nn", "minicnn.run_folder"},
    {"minicnn.train_arguments"},
    {
        "minicnn.train",
        "minicnn.experiment",
        "minicnn.doctor",
        "minicnn.plot",
        "minicnn.summary",
        "minicnn.activations",
        "minicnn.receptive_field",
        "minicnn.audio",
    },
    {"minicnn.models"},
    {"minicnn"},
    {"examples", "benchmarks"},
]
# Rooms of one floor that stand on each other.
beside = {
    "minicnn.summary": {"minicnn.activations", "minicnn.receptive_field"},
    "minicnn.audio": {"minicnn.plot"},
}


def files():
    for folder in ("kernels", "minicnn", "examples", "benchmarks"):
        for path in sorted((root / folder).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            name = name.removesuffix(".__init__")
            yield path, f"minicnn.{name}" if folder == "kernels" else name


def room(module):
    """Return the floor and the room that a module belongs to."""
    found = [(len(name), level, name) for level, floor in enumerate(floors) for name in floor
             if module == name or module.startswith(f"{name}.")]  # fmt: skip
    _, level, name = max(found)
    return level, name


def imported(path, module):
    """Yield the full names of everything of this project that a file imports, anywhere in it."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


everything = list(files())


@pytest.mark.parametrize(("path", "module"), everything, ids=[module for _, module in everything])
def test_a_room_imports_only_from_rooms_below_it(path, module):
    level, own = room(module)
    for name in imported(path, module):
        if name.partition(".")[0] not in ("minicnn", "kernels", "examples", "benchmarks"):
            continue
        other_level, other = room(name)
        if level == len(floors) - 1:
            continue  # scripts use the public API, which is the floor below with all its rooms
        assert other == own or other_level < level or other in beside.get(own, ()), name


@pytest.mark.parametrize(("path", "module"), everything, ids=[module for _, module in everything])
def test_pytorch_is_only_compared_with(path, module):
    names = {name.partition(".")[0] for name in imported(path, module)}
    if not module.startswith("benchmarks"):
        assert "torch" not in names
    assert "kernels" not in names  # a second copy of every module of minicnn.kernels


def test_kernels_know_nothing_of_the_rest():
    for path, module in everything:
        if module.startswith("minicnn.kernels"):
            for name in imported(path, module):
                assert not name.startswith("minicnn") or name.startswith("minicnn.kernels")


def test_a_topic_has_the_same_file_name_on_every_floor():
    topics = {path.stem for path in (root / "kernels/reference").glob("*.py")}
    topics -= {"__init__", "philox"}
    for topic in topics - {"optim"}:
        for floor in ("minicnn/ops", "benchmarks"):
            assert (root / floor / f"{topic}.py").exists(), (floor, topic)
    for topic in topics - {"optim", "loss"}:
        assert (root / "minicnn/nn" / f"{topic}.py").exists(), topic
    assert (root / "minicnn/optim.py").exists()


def test_importing_minicnn_is_quick_and_brings_nothing_heavy():
    script = (
        "import time; start = time.perf_counter(); import minicnn;"
        "print(time.perf_counter() - start);"
        "import sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    runs = []
    for _ in range(5):
        command = [sys.executable, "-c", script]
        output = subprocess.run(
            command, cwd=root, capture_output=True, text=True, check=True
        ).stdout
        seconds, modules = output.splitlines()
        runs.append(float(seconds))
    heavy = {"librosa", "matplotlib", "sklearn", "torch", "scipy", "cupy", "multiprocessing"}
    assert not heavy & set(modules.split())
    assert min(runs) < 0.25
