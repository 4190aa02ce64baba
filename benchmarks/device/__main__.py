"""One section of `benchmarks/gpu.py`: the keys of what is done come in, lines of JSON go out."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time

from benchmarks.device.items import measure


def main() -> None:
    """Measure the section that the command line names, for so many seconds from now."""
    started = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # and stop what was started
    name, seconds = sys.argv[1:]
    done = json.load(sys.stdin)
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no result

    from benchmarks.device.gpu import Gpu

    def tell(record):
        print(json.dumps(record, allow_nan=False), file=results, flush=True)

    gpu = Gpu()
    section = importlib.import_module(f"benchmarks.device.{name}")
    measure(
        section.items(gpu),
        done=done,
        ends=started + float(seconds),
        tell=tell,
        check_device=gpu.synchronize,
    )


if __name__ == "__main__":
    main()
