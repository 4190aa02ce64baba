"""Readers of files, given what nobody would write.

A process of its own makes inputs by changing what it has, at bytes, at numbers, at words that the
format knows, and by crossing two of them. An input that leads through a line of our code after
another line as none did before is kept, and changed further: so it finds its way in. Everything
follows from the seed.

While a reader runs it is watched. It must return, or raise the one error that is its own, in one
line that names it. It may not compute for longer than a second, nor wait for what never comes, take
more than ten times the file and 64 MB, touch any other file, start anything, nor import or execute
code. Where memory is short, that may not be hidden behind another error.
"""

import argparse
import contextlib
import importlib
import json
import os
import random
import re
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SLOWEST = 1.0  # [s] of computing, for one input
# [s] for one input on the clock: a read that never comes back does not compute. A machine that does
# other things takes a while too, so it is more.
STALLED = 5.0
ROOM = 64 << 20  # [bytes] beside ten times the file
LONGEST = 1 << 11  # [bytes] of what is mutated
# Events that mean nothing; the second is our own look at a frame.
# What reads, and the line that a warning belongs to.
HARMLESS = {"builtins.id", "object.__getattr__", "sys._getframe"}
NUMBERS = [0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 100, 127, 128, 255, 256, 1000, 4095, 4096,
           32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**53,
           2**62, 2**63 - 1, 2**63, 2**64 - 1]  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """What is fuzzed.

    `read(path)` reads the file; `seeds` are valid inputs, `tokens` words of the format, and `wrap`
    makes a file of an input, so that mutations come past checksums and lengths. `error` is how a
    refusal begins, or several ways. `allowed` are events of `sys.audit` that belong to its work,
    `guided_by` the files whose lines guide the search, and `weight` is how many thousand of a
    million inputs it gets.
    """

    read: Callable[[Path], object]
    seeds: tuple[bytes, ...]
    error: str | tuple[str, ...]
    tokens: tuple[bytes, ...] = ()
    wrap: Callable[[bytes], bytes] = bytes
    suffix: str = ""
    allowed: frozenset[str] = frozenset()
    guided_by: tuple[str, ...] = ()
    weight: int = 0


def mutated(rng, content, others, tokens):
    """Return an input that is a little, or very, different."""
    content = bytearray(content)
    for _ in range(1 << rng.choice((0, 0, 1, 2, 3))):
        at = rng.randrange(len(content) + 1)
        size = min(1 << rng.randrange(8), len(content) - at)
        match rng.randrange(11):
            case 0 if size:
                content[at] ^= 1 << rng.randrange(8)
            case 1 if size:
                content[at] = rng.randrange(256)
            case 2 if size:
                content[at] = (content[at] + rng.choice((-1, 1, 10))) % 256
            case 3:
                width = rng.choice((1, 2, 4, 8))
                number = rng.choice(NUMBERS) % 256**width
                content[at : at + width] = number.to_bytes(width, rng.choice(("little", "big")))
            case 4:
                del content[at : at + size]
            case 5:
                content[at:at] = content[at : at + size] * rng.choice((1, 1, 2, 9))
            case 6:
                to = rng.randrange(len(content) + 1)
                content[to : to + size] = content[at : at + size]
            case 7 if tokens:
                token = rng.choice(tokens)
                content[at : at + rng.choice((0, len(token)))] = token
            case 8:
                content[at:at] = str(rng.choice((-1, 1)) * rng.choice(NUMBERS)).encode()
            case 9:
                other = rng.choice(others)
                start = rng.randrange(len(other) + 1)
                content[at:] = other[start:]
            case 10 if rng.random() < 0.2:
                del content[at:]
    return bytes(content[:LONGEST])


class Watch:
    """What a reader does while it runs."""

    def __init__(self, reader, folder):
        self.reader, self.folder = reader, str(folder)
        self.path = folder / f"input{reader.suffix}"
        self.seen: set = set()
        self.messages: set = set()
        self.done: list[str] = []
        self.armed = False
        self.previous = 0
        self.lines: dict = {}
        sys.addaudithook(self._audit)

    def _audit(self, event, arguments):
        if not self.armed or event in HARMLESS or event in self.reader.allowed:
            return
        if event == "open":
            path, _, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            # The last two are how much memory there is.
            places = self.folder + os.sep, "/proc/", "/sys/"
            inside = isinstance(path, int) or os.path.abspath(os.fsdecode(path)).startswith(places)
            if inside and not writes:
                return
        self.armed = False
        self.done.append(f"{event} {arguments!r}"[:300])
        self.armed = True

    def _trace(self, frame, event, argument):
        code = frame.f_code
        where = code.co_filename, code.co_firstlineno
        if where not in self.lines:
            guides = any(part in code.co_filename for part in self.reader.guided_by)
            self.lines[where] = self._lines_from(10_000 * len(self.lines)) if guides else None
        return self.lines[where]

    def _lines_from(self, start):
        """Return what traces the lines of one function, which have numbers from here on."""
        judges = "compile" not in self.reader.allowed  # Python's parser calls deep nesting so too

        def line(frame, event, argument):
            if event == "exception" and issubclass(argument[0], MemoryError) and judges:
                text = str(argument[1])
                if not text.startswith(self.reader.error):  # a refusal that says so is one
                    self.done.append(f"run out of memory: {text}")
            here = start + frame.f_lineno
            self.seen.add((self.previous, here))
            self.previous = here
            return line

        return line

    def run(self, content):
        """Read one input; return what is wrong with that, or None, and whether it was accepted."""
        reader, outcome, accepted = self.reader, None, False
        with open(self.path, "wb") as file:
            file.write(content)
        self.previous = 0
        # Nobody handles these signals: they end the process, also where it is in foreign code.
        signal.setitimer(signal.ITIMER_PROF, SLOWEST)
        signal.setitimer(signal.ITIMER_REAL, STALLED)
        sys.settrace(self._trace)
        self.armed = True
        try:
            reader.read(self.path)
            accepted = True
        except BaseException as error:
            outcome = error
        self.armed = False
        sys.settrace(None)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        wrong = self._wrong(outcome)
        if self.done:
            wrong, self.done = f"it does: {self.done[0]}", []
        return wrong, accepted

    def _wrong(self, error):
        """Return what is wrong with an error, and learn from its text."""
        if error is None:
            return None
        text = str(error)
        if type(error) not in (ValueError, MemoryError):  # NumPy's own is of another type
            return f"it raises {type(error).__name__}: {text[:300]}"
        if not text.startswith(self.reader.error) or "\n" in text or len(text) > 2000:
            return f"its message is {text[:300]!r}"
        words = re.sub(r"[^a-z ]", "", text.replace(self.folder, "").lower())[:80]
        if len(self.messages) < 50:  # some repeat a word of the input, which is no new way
            self.messages.add(words)
            self.seen.add(words)
        return None


def limit_memory(size):
    """Let this process have no more than this beside what it has [bytes]."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + size
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def fuzz(reader, folder, *, seed, count, seconds, guided=True):
    """Give a reader so many inputs, and return the figures and what was found."""
    rng, started = random.Random(seed), time.monotonic()
    watch = Watch(reader, folder)
    for content in reader.seeds:  # what is imported late is imported now
        watch.path.write_bytes(reader.wrap(content))
        with contextlib.suppress(ValueError):  # some of them are hostile
            reader.read(watch.path)
    corpus = list(reader.seeds)
    figures = dict(inputs=0, accepted=0, kept=0, findings={})
    limit_memory(ROOM + 10 * LONGEST)
    queue = list(reader.seeds)
    while figures["inputs"] < count and time.monotonic() - started < seconds:
        content = queue.pop() if queue else mutated(rng, rng.choice(corpus), corpus, reader.tokens)
        before = len(watch.seen)
        wrong, accepted = watch.run(reader.wrap(content))
        figures["inputs"] += 1
        figures["accepted"] += accepted
        if guided and len(watch.seen) > before:
            corpus.append(content)
            figures["kept"] += 1
        kind = re.sub(r"[^a-zA-Z ]+", " ", wrong or "")[:60]
        if wrong and len(figures["findings"]) < 10:
            figures["findings"].setdefault(kind, (wrong, watch.path.read_bytes().hex()))
    return {**figures, "ways": len(watch.seen), "seconds": round(time.process_time(), 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("parts", type=json.loads, help="a list of [reader, seed, count]")
    parser.add_argument("--of", default="tests.reliability.readers", help="where readers() is")
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--unguided", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    options.folder.mkdir(parents=True, exist_ok=True)
    made = importlib.import_module(options.of).readers(options.folder)
    print("ready", flush=True)
    for name, seed, count in options.parts:
        figures = fuzz(
            made[name], options.folder, seed=seed, count=count, seconds=options.seconds,
            guided=not options.unguided,
        )  # fmt: skip
        print(json.dumps({"name": name, **figures}), flush=True)


if __name__ == "__main__":
    main()
