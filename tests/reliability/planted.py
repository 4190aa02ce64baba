"""Readers with a fault each, to see that the watch sees it."""

import contextlib
import faulthandler
import signal
import subprocess
import time
from functools import partial

from tests.reliability.fuzzing import Reader


def crashes(path):
    faulthandler._sigsegv()


def hangs(path):
    while True:
        pass


def sleeps(path):
    time.sleep(60)


def allocates(path):
    return bytearray(1 << 28)


def hides_that_memory_is_short(path):
    with contextlib.suppress(MemoryError):
        bytearray(1 << 28)
    raise ValueError("read: it is refused")


def writes_elsewhere(path):
    path.with_name("elsewhere").write_text("harm")


def reads_elsewhere(path):
    with open("/etc/hosts") as file:
        return file.read()


def executes(path):
    exec("harm = 1")


def imports(path):
    import sched

    return sched


def starts_a_program(path):
    subprocess.run(["true"])


def raises_another_error(path):
    raise KeyError("read: it is refused")


def says_nothing(path):
    raise ValueError("oops")


def says_it_in_many_lines(path):
    raise ValueError("read: it is\nrefused")


def is_good(path):
    if path.read_bytes()[:1] != b"s":
        raise ValueError("read: it begins with no s")


def hides_a_fault_behind_many_conditions(path):
    first, second, third, fourth = (each >> 4 for each in path.read_bytes()[:4].ljust(4))
    if first != 5:
        raise ValueError("read: it is refused")
    if second != 10:
        raise ValueError("read: it is refused")
    if third != 6:
        raise ValueError("read: it is refused")
    if fourth != 11:
        raise ValueError("read: it is refused")
    raise KeyError


FAULTS = {
    crashes: "it ends by signal 11",
    hangs: f"it ends by signal {signal.SIGPROF}",
    sleeps: f"it ends by signal {signal.SIGALRM}",
    allocates: "it raises MemoryError|it does: run out of memory",
    hides_that_memory_is_short: "it does: run out of memory",
    writes_elsewhere: "it does: open .*elsewhere",
    reads_elsewhere: "it does: open .*hosts",
    executes: "it does: compile",
    imports: "it does: import .*sched",
    starts_a_program: "it does: .*true",
    raises_another_error: "it raises KeyError",
    says_nothing: "its message is 'oops'",
    says_it_in_many_lines: "its message is",
}


def unless_it_is_the_seed(fault, path):
    """Do harm, but not while what is imported late is imported."""
    if path.read_bytes() != b"seed":
        fault(path)


def readers(folder):
    make = partial(Reader, seeds=(b"seed",), error="read: ", guided_by=("planted.py",))
    faults = {each.__name__: make(partial(unless_it_is_the_seed, each)) for each in FAULTS}
    others = (hides_a_fault_behind_many_conditions, is_good)
    return faults | {each.__name__: make(each) for each in others}
