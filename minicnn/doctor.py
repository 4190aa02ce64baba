"""What this machine has for minicnn, what is missing, and what to install.

`python -m minicnn.doctor` prints a report, `--json` the same for programs. It ends with status 0 if
the CPU side works, which it tries out with one convolution. A program calls `examine`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from minicnn import kernels
from minicnn.kernels.cuda.availability import Survey, dotted, survey, wheel_for
from minicnn.kernels.threads import get_num_threads

# What each extra brings that those before it do not; a test holds it against setup.py.
EXTRAS = {
    "audio": (
        "librosa>=0.11",
        "soundfile>=0.13",
        "soxr>=0.5",
        "mir_eval>=0.8",
        "scikit-learn>=1.5",
    ),
    "plot": ("matplotlib>=3.9",),
    "data": ("mirdata>=1.0",),
    "examples": ("pillow>=10", "tyro>=1.0"),
    "test": ("pytest>=8.2", "hypothesis>=6.100"),
    "bench": ("torch==2.13.0", "onnx>=1.17", "onnxruntime>=1.20"),
    "lint": ("ruff==0.17.6", "mypy==2.4.1", "build>=1.2", "pre-commit>=4"),
}
# Of what a processor can, what the kernels can use.
_FEATURES = "avx2", "fma", "avx512f", "neon"
# Of these only one may be installed.
_CUPY = "cupy", "cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x"
# They limit what threads there are.
_VARIABLES = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes
    ----------
    topic : str
        What was asked.
    text : str
        The answer, for people.
    value : numbers, strings, lists and dicts of them, or None
        The answer, for programs.
    is_good : bool
        Whether nothing is to be done about it.
    advice : str
        What could be done, such as what to install.
    """

    topic: str
    text: str
    value: Any = None
    is_good: bool = True
    advice: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All findings, and what they mean.

    Attributes
    ----------
    findings : tuple of Finding
    cpu_works : bool
        Whether a convolution came out right.
    gpu_works : bool
        Whether `model.to("cuda")` has a GPU to go to.
    """

    findings: tuple[Finding, ...]
    cpu_works: bool
    gpu_works: bool

    def __getitem__(self, topic: str) -> Finding:
        """Return the finding of a topic."""
        return {finding.topic: finding for finding in self.findings}[topic]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {
            "cpu_works": self.cpu_works,
            "gpu_works": self.gpu_works,
            **{
                finding.topic: {k: v for k, v in asdict(finding).items() if k != "topic"}
                for finding in self.findings
            },
        }

    def text(self, width: int = 100) -> str:
        """Return the report, in lines of this many columns."""
        column = max(len(finding.topic) for finding in self.findings) + 2
        lines: list[str] = []
        for finding in self.findings:
            text = finding.text + (f"; {finding.advice}" if finding.advice else "")
            lines += _filled(text, width, finding.topic.ljust(column), " " * column)
        cpu = "works" if self.cpu_works else "does not work"
        gpu = "works" if self.gpu_works else "cannot be used"
        return "\n".join([*lines, "", f"The CPU side {cpu}, a GPU {gpu}."])


def _filled(text, width, first, others):
    """Return lines of this width; a command to type is not divided where there is a hyphen."""
    return textwrap.wrap(
        text,
        max(width, 60),
        initial_indent=first,
        subsequent_indent=others,
        break_on_hyphens=False,
        break_long_words=False,
    )


def examine() -> Diagnosis:
    """Ask all questions, each so that its failure is a finding.

    It compiles a convolution where that was not done before, and imports CuPy where that is
    installed; of other optional libraries it reads the versions only.
    """
    findings: list[Finding] = []
    for topic, question in _QUESTIONS.items():
        findings += _ask(topic, question)
    good = {finding.topic: finding.is_good for finding in findings}
    return Diagnosis(tuple(findings), good["CPU check"], good["GPU check"])


def _ask(topic, question):
    """Return the answers to a question; whatever goes wrong is an answer too."""
    try:
        answer = question()
    except Exception as error:  # it is here to be run where anything may be broken
        said = " ".join(str(error).split())[:300]
        return [Finding(topic, f"failed with {type(error).__name__}: {said}", is_good=False)]
    return [answer] if isinstance(answer, Finding) else list(answer)


def processor_name() -> str:
    """Return what the processor is called."""
    try:  # Linux keeps the full name here, but not on every kind of processor
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line for line in lines if line.startswith("model name")).split(": ")[1]
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _software():
    where = Path(kernels.__file__).parent.parent
    python, system = platform.python_version(), f"{platform.system()} {platform.machine()}"
    numpy = np.__version__
    minicnn = importlib.import_module("minicnn").__version__
    return Finding(
        "minicnn",
        f"{minicnn} in {where}, Python {python}, NumPy {numpy}, {system}",
        {
            "version": minicnn,
            "folder": str(where),
            "python": python,
            "numpy": numpy,
            "system": system,
        },
    )


def _processor():
    name, cores = processor_name(), os.cpu_count()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return Finding(
        "processor",
        f"{name}, {usable} of {cores} cores for this process",
        {"name": name, "cores": cores, "usable_cores": usable},
    )


def _vectors():
    import llvmlite.binding  # comes with Numba, which may be missing

    from minicnn.kernels.cpu import vectors

    has = llvmlite.binding.get_host_cpu_features()
    features = [name for name in _FEATURES if has.get(name)]
    lanes = vectors.REGISTERS.size // np.dtype(np.float32).itemsize
    chosen = ", chosen by MINICNN_SIMD" if os.environ.get("MINICNN_SIMD") else ""
    return Finding(
        "vectors",
        f"{vectors.KIND}: {lanes} float32 numbers at once{chosen}; the processor has "
        f"{', '.join(features) or 'none that the kernels know'}",
        {"kind": vectors.KIND, "float32_lanes": lanes, "features": features},
    )


def _numba():
    reason = kernels.cpu.why_not_compiled()
    value = {"version": _version("numba"), "llvmlite": _version("llvmlite"), "jit": not reason}
    if reason:
        disabled = reason.startswith("NUMBA_DISABLE_JIT")
        return Finding(
            "Numba",
            f"{reason}: the slow reference kernels run",
            value,
            is_good=False,
            advice="unset NUMBA_DISABLE_JIT" if disabled else 'pip install "numba>=0.61"',
        )
    return Finding("Numba", f"{value['version']}, llvmlite {value['llvmlite']}, compiles", value)


def _cache():
    from minicnn.kernels.cpu import compiled

    folder = compiled.cache_folder()
    anew, advice = "", ""
    if os.environ.get("MINICNN_SIMD"):
        anew, advice = "MINICNN_SIMD is set", "unset MINICNN_SIMD"
    elif folder is None or not _is_writable(folder):
        anew = f"{folder or 'any folder for it'} cannot be written"
        advice = "set NUMBA_CACHE_DIR to a folder that can be written"
    sizes = [path.stat().st_size for path in folder.glob("*.nb[ic]")] if folder else []
    text = f"{sum(sizes) / 1e6:.1f} MB in {len(sizes)} files in {folder}"
    return Finding(
        "compiled code",
        f"not kept, because {anew}: every process compiles anew" if anew else text,
        {
            "folder": folder and str(folder),
            "bytes": sum(sizes),
            "files": len(sizes),
            "kept": not anew,
        },
        is_good=not anew,
        advice=advice,
    )


def _is_writable(folder):
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _threads():
    count = get_num_threads()
    given = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    limits = "".join(f", {name}={value}" for name, value in given.items())
    return Finding(
        "threads",
        f"{count} in kernels and matrix products{limits}",
        {"count": count, "variables": given},
    )


def _blas():
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    texts = [
        f"{pool['internal_api']} {pool['version']}"
        + (f" for {pool['architecture']}" if pool.get("architecture") else "")
        + f", {pool['num_threads']} threads"
        for pool in pools
    ]
    return Finding(
        "BLAS", "; ".join(texts) or "NumPy's, of no kind that threadpoolctl knows", pools
    )


def _cpu_check():
    """Convolve whole numbers, compiled where that works, and compare with the definition."""
    x = np.arange(72, dtype=np.float32).reshape(1, 2, 6, 6) % 5
    w = np.arange(54, dtype=np.float32).reshape(3, 2, 3, 3) % 3
    options = dict(stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1), groups=1)
    started = time.perf_counter()
    y = kernels.cpu.conv2d(x, w, None, **options)
    seconds = time.perf_counter() - started
    # Winograd's algorithm rounds, but by far less than to the next whole number.
    right = np.array_equal(np.rint(y), kernels.reference.conv2d(x, w, None, **options))
    how = "compiled" if kernels.cpu.is_compiled() else "reference"
    return Finding(
        "CPU check",
        f"a convolution is {'right' if right else 'WRONG'}; the {how} kernel took {seconds:.1f} s",
        {"right": right, "seconds": round(seconds, 3)},
        is_good=right,
        advice="" if right else "please report this, with what is above",
    )


def _libraries() -> Iterator[Finding]:
    """Say of each extra which libraries are there; importing them is not needed for that."""
    for extra, requirements in EXTRAS.items():
        found, wrong, missing = {}, [], []
        for requirement in requirements:
            name, wanted = re.split("[>=]=", requirement)
            found[name] = _version(name)
            if found[name] is None:
                missing.append(name)
            elif _numbers(found[name]) < _numbers(wanted):
                wrong.append(f"{name} should be {wanted} or newer")
        right = [f"{name} {version}" for name, version in found.items() if version]
        wrong += [f"missing: {', '.join(missing)}"] if missing else []
        yield Finding(
            extra,
            "; ".join([", ".join(right), *wrong] if right else wrong),
            found,
            is_good=not wrong,
            advice=f'pip install "minicnn[{extra}]"' if wrong else "",
        )


def _version(library):
    """Return the version of what is installed, or None."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version):
    """Return the numbers of a release, without what marks a build: (2, 13, 0) of 2.13.0+cpu."""
    return [int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3]]


def _fluidsynth():
    path = shutil.which("fluidsynth")
    return Finding(
        "fluidsynth",
        path or "missing: recorded instruments for generated music",
        path,
        is_good=path is not None,
        advice="" if path else "apt-get install fluidsynth timgm6mb-soundfont fluid-soundfont-gm",
    )


def _gpu() -> Iterator[Finding]:
    """Say what was found on the way to a GPU, and what is missing."""
    found: Survey = survey()
    wheel = wheel_for(found.driver)
    runtime = f", for CUDA {dotted(found.runtime)}" if found.runtime else ""
    wheels = [name for name in _CUPY if _version(name)]
    advice = "" if found.cupy else f"pip install {wheel}"
    if len(wheels) > 1:
        advice = f"{' and '.join(wheels)} overwrite each other: pip uninstall all of them first"
    yield Finding(
        "CuPy",
        f"{found.cupy}{runtime}" if found.cupy else "missing",
        {"version": found.cupy, "cuda": found.runtime and dotted(found.runtime), "wheels": wheels},
        is_good=not advice,
        advice=advice,
    )
    driver = found.driver
    trouble = f", but does not start: {driver.trouble}" if driver and driver.trouble else ""
    yield Finding(
        "NVIDIA driver",
        f"for CUDA {dotted(driver.cuda)}{trouble}" if driver else "missing",
        driver and {"cuda": dotted(driver.cuda), "trouble": driver.trouble},
        is_good=driver is not None and not trouble,
    )
    yield Finding(
        "NVRTC",
        dotted(found.nvrtc) if found.nvrtc else "missing",
        found.nvrtc and dotted(found.nvrtc),
        is_good=found.nvrtc is not None,
    )
    gpus = driver.gpus if driver else ()
    yield Finding(
        "GPUs",
        "; ".join(
            f"{gpu.name}, {gpu.memory / 2**30:.0f} GiB, compute capability {dotted(gpu.capability)}"
            for gpu in gpus
        )
        or "none",
        [gpu._asdict() for gpu in gpus],
        is_good=bool(gpus),
    )
    yield Finding(
        "GPU check",
        found.missing or 'model.to("cuda") has all that it needs',
        found.missing or None,
        is_good=not found.missing,
    )


_QUESTIONS: dict[str, Callable[[], Finding | Iterator[Finding]]] = {
    "minicnn": _software,
    "processor": _processor,
    "vectors": _vectors,
    "Numba": _numba,
    "threads": _threads,
    "BLAS": _blas,
    "CPU check": _cpu_check,
    "compiled code": _cache,  # what the check has compiled counts
    "libraries": _libraries,
    "fluidsynth": _fluidsynth,
    "GPU check": _gpu,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report, and return the exit status: 0 if the CPU side works."""
    parser = argparse.ArgumentParser(prog="python -m minicnn.doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead")
    given = parser.parse_args(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the report says it all
        diagnosis = examine()
    if given.json:
        print(json.dumps(diagnosis.as_dict(), indent=2))
    else:
        print(diagnosis.text(shutil.get_terminal_size((100, 40)).columns))
    return 0 if diagnosis.cpu_works else 1


if __name__ == "__main__":
    sys.exit(main())
