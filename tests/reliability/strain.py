"""Kernels between guards: `python -m tests.reliability.strain WHAT SEED --calls NUMBER`.

WHAT is an algorithm of convolution, or "others" for all other kernels. Each case is one call with
arrays, options and a layout of chance; the guards must be untouched after it, the inputs unchanged,
and the result the reference's. It runs in a process of its own, because a kernel that leaves its
memory ends the process, and one that hangs can be ended in no other way.

The case of a seed is always the same, and the next seed is the next case: SEED alone does one case
again. It says how many calls reached WHAT, and how many arrays all cases took.

With --by-hypothesis all cases follow from SEED together, and one that fails is made simpler first.
To draw so takes 4 ms, ten times as long as from a plain generator and longer than all the rest of a
case, so that most cases are drawn plainly.
"""

import argparse
import faulthandler
import os
import random
import signal
from contextlib import contextmanager, nullcontext

import hypothesis
import numpy as np
from hypothesis import HealthCheck, given
from hypothesis.strategies import randoms
from minicnn.kernels import memory, reference, threads
from minicnn.kernels.cpu import conv, conv_fft, parallel, spectra

import minicnn as mc
from minicnn import kernels
from tests.kernels.cases import assert_close
from tests.reliability.calls import CONVOLUTIONS, FAMILY, Draw, convolution

PATIENCE = 120  # how long a call may take, its compilation on a busy machine included [s]
# What gives its result in its first arguments.
IN_PLACE = "sgd_step", "adam_step", "update_running_statistics"


def arrays_of(result):
    """Return the arrays in a result, or in arguments, in order."""
    if isinstance(result, np.ndarray):
        return [result]
    if isinstance(result, (tuple, list)):
        return [array for part in result for array in arrays_of(part)]
    return []


def copied(arguments):
    """Return arguments with copies of their arrays, without gaps."""
    if isinstance(arguments, np.ndarray):
        return arguments.copy()
    if isinstance(arguments, (tuple, list)):
        return type(arguments)(map(copied, arguments))
    return arguments


def done(call):
    """Return the results of a call, of a convolution too whose filters were prepared for it."""
    if call.name == "prepared":
        x, w, b = call.arguments
        return [conv.prepared(w, b, x.shape, **call.options)(x)]
    result = getattr(kernels.cpu, call.name)(*call.arguments, **call.options)
    return arrays_of(call.arguments if call.name in IN_PLACE else result)


def check(call, watch):
    """Do a call, and compare it with the reference."""
    kept = copied(call.arguments)
    reference_of = getattr(reference, "conv2d" if call.name == "prepared" else call.name)
    wanted = reference_of(*kept, **call.options)
    if call.name in IN_PLACE:
        wanted = kept
    results = done(call)
    if call.name not in IN_PLACE:
        for array, before in zip(arrays_of(call.arguments), arrays_of(kept), strict=True):
            assert np.array_equal(array, before), "an input was changed"
    for one, other in zip(results, arrays_of(wanted), strict=True):
        if one.dtype.kind == "f":
            assert_close(one, other, call.terms)
        else:
            assert np.array_equal(one, other)
    del results, one, call
    assert not watch.broken, f"beside arrays of shapes {watch.broken} something was written"


class Noticed:
    """An algorithm of convolution, and how often a pass was given to it."""

    def __init__(self, algorithm):
        self.passes, self._algorithm = 0, algorithm

    def __getattr__(self, name):
        self.passes += name.startswith("conv2d")
        return getattr(self._algorithm, name)


@contextmanager
def cramped():
    """Leave transforms so little room that small images are cut as large ones are."""
    before = conv_fft.LONGEST, conv_fft.BLOCK, conv_fft.SHARED, spectra.BLOCKED
    conv_fft.LONGEST, conv_fft.BLOCK, conv_fft.SHARED, spectra.BLOCKED = 16, 8, 1, 1
    try:
        yield
    finally:
        conv_fft.LONGEST, conv_fft.BLOCK, conv_fft.SHARED, spectra.BLOCKED = before


class Strain:
    """Cases of an algorithm of convolution, or of the others.

    Attributes
    ----------
    calls : int
        How many were right and reached the algorithm.
    draw : Draw
        Has the watch under which they were.
    """

    def __init__(self, what, log=None):
        self.calls, self.draw = 0, Draw()
        self._what, self._log = what, log
        self._noticed = None
        if what != "others":
            self._noticed = conv.ALGORITHMS[what] = Noticed(conv.ALGORITHMS[what])

    def case(self, rng, title="case"):
        """Do what comes from a generator, within its time."""
        signal.alarm(PATIENCE)
        self.draw.begin(rng)
        threads._count = rng.choice((1, 1, 1, 1, 1, 1, 1, 1, 2, 3))
        if self._noticed is None:
            name = rng.choice(tuple(FAMILY))
            call, allowed = FAMILY[name](self.draw, name), "direct"
        else:
            name = rng.choice(CONVOLUTIONS)
            call, allowed = convolution(self.draw, name, self._what), self._what
        room = cramped() if allowed == "fft" and self.draw.chance(0.3) else nullcontext()
        before = self._noticed.passes if self._noticed else 0
        tried = f"{title}: {self._described(call)}"
        if self._log is not None:  # a process that a signal ends says nothing more
            os.pwrite(self._log, f"{tried[:999]:<999}\n".encode(), 0)
        try:
            with conv.allow(allowed), room:
                check(call, self.draw.watch)
        except BaseException as error:
            error.add_note(tried)
            raise
        signal.alarm(0)
        self.calls += self._noticed is None or self._noticed.passes > before

    def _described(self, call):
        shapes = [array.shape for array in arrays_of(call.arguments)]
        return (
            f"{call.name} {self.draw.dtype} {shapes} {call.options}, {threads._count} threads, "
            f"numbers of seed {self.draw.seed}, {' '.join(self.draw.layouts)}"
        )


def drawn_plainly(strain, seed, calls):
    """Do cases from that of a seed on, until so many calls have reached the algorithm."""
    number = seed
    while strain.calls < calls:
        strain.case(random.Random(number), f"seed {number}")
        number += 1


def drawn_by_hypothesis(strain, seed, calls):
    """Do so many cases that follow from a seed together, and make one that fails simpler."""

    @hypothesis.settings(
        max_examples=calls, deadline=None, database=None, suppress_health_check=[*HealthCheck]
    )
    @hypothesis.seed(seed)
    @given(randoms(use_true_random=False))
    def drawn(rng):
        strain.case(rng)

    drawn()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("what", choices=[*conv.ALGORITHMS, "others"])
    parser.add_argument("seed", type=int)
    parser.add_argument("--calls", type=int, default=1)
    parser.add_argument("--by-hypothesis", action="store_true")
    parser.add_argument("--log", help="a file to leave in what is tried")
    options = parser.parse_args()
    faulthandler.enable()
    faulthandler.register(signal.SIGALRM, chain=True)  # and then the process ends, wherever it is
    mc.set_num_threads(1)
    log = os.open(options.log, os.O_CREAT | os.O_WRONLY) if options.log else None
    strain = Strain(options.what, log)
    memory.empty = strain.draw.watch.empty
    parallel.LEAST = 1  # as if it paid to use all threads
    draw = drawn_by_hypothesis if options.by_hypothesis else drawn_plainly
    draw(strain, options.seed, options.calls)
    print(strain.calls, strain.draw.watch.lent)


if __name__ == "__main__":
    main()
