"""A killed run loses nothing: it goes on, and ends with the very weights, bit for bit."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import minicnn as mc
from minicnn import nn, ops, optim
from minicnn.checkpoint import held
from tests.reliability import training
from tests.reliability.lives import at_once, live

PROMISE = "a killed run loses nothing"
MINUTES = 12

resource = pytest.importorskip("resource", reason="limits and signals of POSIX are needed")


def assert_whole(folder):
    """Assert that whatever is in a folder can be read."""
    for path in folder.glob("*.safetensors"):
        assert mc.load(path)
    with contextlib.suppress(FileNotFoundError):
        for line in (folder / "log.jsonl").read_text().splitlines():
            json.loads(line)


def test_a_run_that_is_killed_at_any_moment_ends_with_the_weights_of_one_that_was_not(
    tmp_path, times, count, uninterrupted
):
    digest, seconds = uninterrupted
    kills = []

    def run(rng):
        """Kill a run up to three times, let it end, and return 1 if it was killed at all."""
        folder, killed = tmp_path / str(rng.random()), 0
        workers, deaths = int(rng.random() < 0.25), rng.randint(1, times(quick=1, full=3))
        while True:
            after = rng.uniform(0, 0.9 * seconds) if killed < deaths else None
            before = set(folder.glob(".*.tmp"))  # of the last kill, until the run begins again

            def halves(before=before):
                return set(folder.glob(".*.tmp")) - before

            # Half of the moments are those in which a file is being written.
            when = halves if rng.random() < 0.5 else None
            life = live("tests.reliability.training", folder, workers, after=after, when=when)
            if life.code != -signal.SIGKILL:
                assert life.code == 0, life.errors
                assert life.said[-1].split()[1] == digest
                shutil.rmtree(folder)
                return min(killed, 1)
            killed += 1
            kills.append(bool(halves()))
            assert_whole(folder)

    _, runs = at_once(run, 1, times(quick=1, full=100))
    count(killed_runs_bit_identical=runs, kills=len(kills), of_them_while_it_wrote=sum(kills))
    assert sum(kills) >= times(quick=0, full=20)


EPOCHS = 4  # of the runs that fail in this process


def run_here(folder, **options):
    return training.digest(*training.train(folder, epochs=EPOCHS, **options))


@pytest.fixture(scope="module")
def short():
    """What a short run comes to."""
    return run_here(None)


def assert_goes_on(folder, short):
    """Assert that a failed run has left no debris and nothing half-written, and can go on."""
    assert_whole(folder)
    assert not list(folder.glob(".*"))
    assert run_here(folder, seed=5 if (folder / "last.safetensors").exists() else 0) == short


def mount(untried, *arguments):
    """Mount something, or skip a test: say what is not tried then, and why."""
    if not shutil.which("mount"):
        pytest.skip(f"{untried}: there is no program `mount`")
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{untried}: this process may not mount: {' '.join(done.stderr.split())}")


@contextlib.contextmanager
def mounted(folder, size):
    """Let a folder be a disk of its own, of this size [bytes]."""
    folder.mkdir(exist_ok=True)
    mount("no disk was full", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder, but):
    """Fill a disk, but for so many bytes, and return the file that does."""
    ballast = folder.parent / "ballast"
    with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    os.truncate(ballast, max(ballast.stat().st_size - but, 0))
    return ballast


def test_a_full_disk_is_named_and_costs_no_more_than_the_epoch(tmp_path, times, count, short):
    with mounted(tmp_path / "disk", 2**23) as disk:
        whole = run_here(disk / "run") and sum(
            path.stat().st_size for path in (disk / "run").iterdir()
        )
        # What is free decides which file is the one that does not fit.
        for free in np.linspace(0, 0.7 * whole, times(quick=3, full=30)).astype(int):
            shutil.rmtree(disk / "run")
            batches = iter(range(1000))

            def fills_up(batches=batches, free=free):
                if next(batches) == 12:  # in the second epoch
                    fill(disk / "run", int(free))

            with contextlib.suppress(FileNotFoundError):
                (disk / "ballast").unlink()
            with pytest.raises(OSError, match="No space .*bytes are free on that disk") as caught:
                run_here(disk / "run", on_batch=fills_up)
            assert caught.value.errno == errno.ENOSPC
            assert caught.value.filename.startswith(str(disk / "run"))
            count(disks_full=1)
            (disk / "ballast").unlink()
            assert_goes_on(disk / "run", short)


def test_a_file_that_cannot_grow_is_named_and_the_run_goes_on(tmp_path, times, count, short):
    sizes = np.linspace(1, 1_100_000, times(quick=3, full=30)).astype(int)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in sizes:
        folder = tmp_path / str(size)
        batches = iter(range(1000))

        def limited(batches=batches, size=size):
            if next(batches) == 12:
                resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), hard))

        try:
            with pytest.raises(OSError, match="File too large; .* bytes are free") as caught:
                run_here(folder, on_batch=limited)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert caught.value.filename.startswith(str(folder))
        assert_goes_on(folder, short)
        count(files_cut_off=1)


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_an_error_of_the_disk_in_any_file_is_named_and_the_run_goes_on(
    tmp_path, times, count, short, monkeypatch, function
):
    for failing in range(times(quick=2, full=3 * EPOCHS)):
        folder, calls, real = tmp_path / str(failing), iter(range(1000)), getattr(os, function)

        def fails(*arguments, calls=calls, real=real, failing=failing):
            if next(calls) == failing:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(os, function, fails)
            with pytest.raises(OSError, match="Input/output error; .*") as caught:
                run_here(folder)
        assert caught.value.filename.startswith(str(folder))
        assert_goes_on(folder, short)
        count(disk_errors=1)


def test_a_folder_that_may_only_be_read_is_said_before_training_and_left_alone(
    tmp_path, count, short
):
    folder = tmp_path / "run"
    run_here(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with read_only(folder), pytest.raises(OSError, match=f"(?i)read-only|permission.*{folder}"):
        training.train(folder, epochs=EPOCHS + 2, on_batch=lambda: pytest.fail("it was trained"))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert_goes_on(folder, short)
    count(read_only_folders=1)


@contextlib.contextmanager
def read_only(folder):
    """Let nobody write to a folder; the superuser is not bound by permissions, but by mounts."""
    if os.geteuid():
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(0o755)
        return
    mount("no folder was read-only", "--bind", str(folder), str(folder))
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_of_two_runs_on_one_folder_the_second_is_refused_and_the_first_goes_on(
    tmp_path, count, short
):
    refused = []

    other = nn.Linear(40, 2, rng=1)  # which draws nothing from what the first run draws from

    def second():
        message = f"another run, of process {os.getpid()}, is writing to this folder: '{tmp_path}'"
        with pytest.raises(BlockingIOError, match=message):
            mc.fit(
                other, [(training.INPUTS, training.LABELS)], ops.cross_entropy,
                optim.SGD(other.parameters()), epochs=1, checkpoint=tmp_path, resume=True,
            )  # fmt: skip
        refused.append(1)

    def in_a_thread():
        if len(refused) < 3:
            thread = threading.Thread(target=second)
            thread.start()
            thread.join()

    assert run_here(tmp_path, on_batch=in_a_thread) == short
    assert len(refused) == 3
    assert not list(tmp_path.glob(".*"))
    count(second_runs_refused=len(refused))


def test_another_process_is_refused_until_the_first_is_killed(tmp_path, count, short):
    with held(tmp_path):
        life = live("tests.reliability.training", tmp_path)
    assert life.code == 1
    assert f"BlockingIOError: [Errno {errno.EAGAIN}] another run, of process {os.getpid()}, is" in (
        life.errors
    )
    count(second_runs_refused=1)
    holder = (
        "import sys, time\n"
        "from minicnn.checkpoint import held\n"
        "with held(sys.argv[1]):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        with pytest.raises(BlockingIOError, match=f"of process {process.pid}, is"):
            run_here(tmp_path)
        process.kill()
    assert run_here(tmp_path) == short
    assert not list(tmp_path.glob(".*"))


def test_many_who_want_one_folder_get_it_one_after_the_other(tmp_path, times, count):
    inside, most, turns = [], [], times(quick=200, full=5000)

    def wants():
        got = 0
        while got < turns:
            with contextlib.suppress(BlockingIOError), held(tmp_path):
                inside.append(1)
                most.append(len(inside))
                inside.pop()
                got += 1

    threads = [threading.Thread(target=wants) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(most) == 4 * turns
    assert not list(tmp_path.iterdir())
    count(folders_held=len(most))
