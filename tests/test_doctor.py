"""The doctor: every question has an answer, whatever is missing or broken."""

import json
import os
import runpy
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import setuptools
from minicnn.kernels.cpu import compiled, vectors
from minicnn.kernels.cuda import availability, driver

import minicnn as mc
from minicnn import doctor, kernels

root = Path(__file__).parents[1]
HERE = {
    "minicnn",
    "processor",
    "vectors",
    "Numba",
    "threads",
    "BLAS",
    "CPU check",
    "compiled code",
    *doctor.EXTRAS,
    "fluidsynth",
    "CuPy",
    "NVIDIA driver",
    "NVRTC",
    "GPUs",
    "GPU check",
}


def run(*arguments, **variables):
    """Return the exit status and the output of a doctor in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if k not in ("MINICNN_SIMD", "COLUMNS")}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=environment | variables,
        capture_output=True,
        text=True,
    )
    assert not done.stderr
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def diagnosis():
    return doctor.examine()


def test_every_question_is_answered_once_and_the_cpu_works(diagnosis):
    assert [finding.topic for finding in diagnosis.findings] == list(
        dict.fromkeys(finding.topic for finding in diagnosis.findings)
    )
    assert {finding.topic for finding in diagnosis.findings} == HERE
    assert diagnosis.cpu_works
    assert diagnosis["CPU check"].value["right"]


def test_the_report_fits_on_one_screen_and_is_aligned(diagnosis):
    *lines, empty, verdict = diagnosis.text(100).splitlines()
    assert len(lines) <= 38
    assert all(len(line) <= 100 for line in lines)
    column = max(map(len, HERE)) + 2
    assert {line[:column].strip() for line in lines if line[0] != " "} == HERE
    assert all(line[column - 1] == " " and line[column] != " " for line in lines)
    assert not empty
    assert verdict.startswith("The CPU side works, a GPU ")


def test_values_are_what_the_libraries_themselves_say(diagnosis):
    assert diagnosis["Numba"].value["version"] == metadata.version("numba")
    assert diagnosis["minicnn"].value["version"] == mc.__version__
    assert diagnosis["minicnn"].value["numpy"] == np.__version__
    assert diagnosis["threads"].value["count"] == mc.get_num_threads()
    assert diagnosis["vectors"].value["kind"] == vectors.KIND
    assert diagnosis["vectors"].value["float32_lanes"] * 4 == vectors.REGISTERS.size
    assert diagnosis["test"].value["pytest"] == pytest.__version__
    assert diagnosis["processor"].value["usable_cores"] <= os.cpu_count()


def test_the_command_prints_the_report_or_json():
    status, text = run("-m", "minicnn.doctor")
    assert status == 0
    assert text.startswith("minicnn ")
    status, text = run("-m", "minicnn.doctor", "--json")
    assert status == 0
    report = json.loads(text)
    assert set(report) == {"cpu_works", "gpu_works", *HERE}
    assert report["cpu_works"] is True
    assert set(report["Numba"]) == {"text", "value", "is_good", "advice"}


# What is imported only where it is there cannot be found, and has no metadata.
BARE = """
import sys
from importlib import metadata

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

HIDDEN = set(sys.argv.pop(1).split(","))
sys.meta_path.insert(0, Nothing())
told = metadata.version
def version(name):
    if name in HIDDEN:
        raise metadata.PackageNotFoundError(name)
    return told(name)
metadata.version = version
from minicnn import doctor
sys.exit(doctor.main())
"""


def test_where_nothing_optional_is_installed_it_says_what_to_install():
    names = [each.partition(">=")[0].partition("==")[0] for row in doctor.EXTRAS.values()
             for each in row]  # fmt: skip
    status, text = run("-c", BARE, ",".join([*names, "cupy", "sklearn", "PIL"]), PATH="")
    assert status == 0
    unfolded = " ".join(text.split())
    for extra, requirements in doctor.EXTRAS.items():
        missing = ", ".join(each.partition(">=")[0].partition("==")[0] for each in requirements)
        assert f'{extra} missing: {missing}; pip install "minicnn[{extra}]"' in unfolded
    assert "fluidsynth missing: " in unfolded
    assert "CuPy missing; pip install 'cupy-cuda1" in unfolded
    assert "GPU check device 'cuda' needs CuPy, which is not installed" in unfolded
    assert text.endswith("The CPU side works, a GPU cannot be used.\n")


def test_without_numba_it_says_so_and_the_reference_kernels_work():
    status, text = run("-c", BARE, "numba,llvmlite")
    assert status == 0
    unfolded = " ".join(text.split())
    assert "Numba Numba cannot be imported (No module named 'numba')" in unfolded
    assert 'the slow reference kernels run; pip install "numba>=0.61"' in unfolded
    assert "the reference kernel took" in unfolded


def test_a_compiler_that_is_switched_off_is_reported():
    status, text = run("-m", "minicnn.doctor", NUMBA_DISABLE_JIT="1")
    assert status == 0
    assert "NUMBA_DISABLE_JIT is set: the slow reference kernels run; unset NUMBA_DISABLE_JIT" in (
        " ".join(text.split())
    )


def test_a_wrong_setting_is_a_line_of_the_report_and_the_exit_status():
    status, text = run("-m", "minicnn.doctor", MINICNN_SIMD="mmx")
    assert status == 1
    assert "vectors failed with ValueError: MINICNN_SIMD is 'mmx'; it must be" in (
        " ".join(text.split())
    )
    assert "The CPU side does not work" in text


def test_other_vectors_are_named_and_their_code_is_not_kept():
    status, text = run("-m", "minicnn.doctor", "--json", MINICNN_SIMD="plain")
    report = json.loads(text)
    assert status == 0
    assert report["vectors"]["value"]["kind"] == "plain"
    assert report["vectors"]["value"]["float32_lanes"] == 4
    assert report["compiled code"]["value"]["kept"] is False
    assert report["compiled code"]["advice"] == "unset MINICNN_SIMD"


def test_the_cache_is_measured_where_numba_has_it(tmp_path):
    status, text = run("-m", "minicnn.doctor", "--json", NUMBA_CACHE_DIR=str(tmp_path))
    assert status == 0
    files = list(tmp_path.rglob("*.nb[ic]"))
    value = json.loads(text)["compiled code"]["value"]
    assert files
    assert {str(file.parent) for file in files} == {value["folder"]}
    assert value["files"] == len(files)
    assert value["bytes"] == sum(file.stat().st_size for file in files)
    assert value["kept"] is True


def test_a_cache_that_cannot_be_written_is_said(monkeypatch):
    monkeypatch.delenv("MINICNN_SIMD", raising=False)
    monkeypatch.setattr(compiled, "cache_folder", lambda: None)
    finding = doctor.examine()["compiled code"]
    assert not finding.is_good
    assert "not kept, because any folder for it cannot be written" in finding.text
    assert "NUMBA_CACHE_DIR" in finding.advice


@pytest.mark.parametrize("topic", doctor._QUESTIONS)
def test_whatever_fails_is_a_line_of_the_report(topic, monkeypatch):
    def fail():
        raise OSError("no\nsuch thing")

    monkeypatch.setitem(doctor._QUESTIONS, topic, fail)
    monkeypatch.setitem(doctor._QUESTIONS, "CPU check", fail)
    found = doctor.examine()
    assert found[topic] == doctor.Finding(
        topic, "failed with OSError: no such thing", is_good=False
    )
    assert not found.cpu_works
    assert "The CPU side does not work" in found.text()


def test_a_convolution_that_is_wrong_is_no_cpu_that_works(monkeypatch):
    right = kernels.cpu.conv2d
    monkeypatch.setattr(kernels.cpu, "conv2d", lambda *a, **o: right(*a, **o) + 1)
    found = doctor.examine()
    assert not found.cpu_works
    assert "WRONG" in found["CPU check"].text


def test_a_library_that_is_too_old_is_named(monkeypatch):
    versions = {"librosa": "0.9.2", "soundfile": "0.13", "soxr": "1.0.0rc1", "torch": "2.13.0+cpu"}
    monkeypatch.setattr(doctor, "_version", lambda name: versions.get(name, "99"))
    found = {finding.topic: finding for finding in doctor._libraries()}
    assert found["audio"].text == (
        "librosa 0.9.2, soundfile 0.13, soxr 1.0.0rc1, mir_eval 99, scikit-learn 99; "
        "librosa should be 0.11 or newer"
    )
    assert found["audio"].advice == 'pip install "minicnn[audio]"'
    assert [topic for topic, finding in found.items() if not finding.is_good] == ["audio"]


def test_the_extras_are_those_of_setup(monkeypatch):
    given = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    runpy.run_path(str(root / "setup.py"))
    extras = {k: set(v) for k, v in given["extras_require"].items() if k not in ("gpu12", "gpu13")}
    assert set(extras) - set(doctor.EXTRAS) == {"gate"}  # NVRTC, which has a line of its own
    seen = set()
    for extra, requirements in doctor.EXTRAS.items():
        assert set(requirements) <= extras[extra] <= {*requirements, *seen}
        assert not seen & set(requirements)
        seen |= set(requirements)


def test_a_gpu_that_works_is_described(monkeypatch):
    gpu = driver.GPU("NVIDIA H100", (9, 0), 80 << 30)
    found = availability.Survey("14.2.0", (13, 2), driver.Driver((13, 0), (gpu,)), (13, 0), "")
    monkeypatch.setattr(doctor, "survey", lambda: found)
    diagnosis = doctor.examine()
    assert diagnosis.gpu_works
    assert diagnosis["CuPy"].text == "14.2.0, for CUDA 13.2"
    assert diagnosis["NVIDIA driver"].text == "for CUDA 13.0"
    assert diagnosis["NVRTC"].text == "13.0"
    assert diagnosis["GPUs"].text == "NVIDIA H100, 80 GiB, compute capability 9.0"
    assert diagnosis.text().endswith("The CPU side works, a GPU works.")


def test_what_is_missing_for_a_gpu_is_said_in_the_words_of_the_device(monkeypatch):
    found = availability.Survey("14.2.0", (13, 2), driver.Driver((13, 0)), None, "device 'cuda' …")
    monkeypatch.setattr(doctor, "survey", lambda: found)
    diagnosis = doctor.examine()
    assert not diagnosis.gpu_works
    assert diagnosis["GPU check"].text == "device 'cuda' …"
    assert diagnosis["GPUs"].text == "none"
    assert diagnosis["NVRTC"].text == "missing"


def test_two_cupys_in_one_environment_are_told(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: "14.2.0" if "cupy-cuda1" in name else None)
    cupy = next(iter(doctor._gpu()))
    assert not cupy.is_good
    assert cupy.advice.startswith("cupy-cuda11x and cupy-cuda12x and cupy-cuda13x overwrite")
