"""Run the emulator's tests with sanitizers in the kernels: `make sanitize`.

AddressSanitizer and UBSan find what is read or written outside of arrays and shared memory, each
at its line; ThreadSanitizer finds what two threads of a block touch without a barrier in between.
"""

import os
import subprocess
import sys

from tests.emulator.emulator import SANITIZED, sanitized

TESTS = [
    "-q", "tests/emulator", "-m", "not slow",
    "--ignore=tests/emulator/test_networks.py",  # takes minutes, and launches what others do too
    "--ignore=tests/emulator/test_gate.py",  # compiles for GPUs
    "--capture=sys",  # lets through what a sanitizer says
]  # fmt: skip

if __name__ == "__main__":
    for name in ("address", "thread"):
        print(f"=== {name}", flush=True)
        command = [*SANITIZED, sys.executable, "-m", "pytest", *TESTS, *sys.argv[1:]]
        done = subprocess.run(command, env=os.environ | sanitized(name))
        if done.returncode:
            sys.exit(done.returncode)
