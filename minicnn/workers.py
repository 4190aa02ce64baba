"""Processes that do a part of the work, end with this one, and leave word of what they are at."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from minicnn.kernels.threads import set_num_threads

_NOTHING = -1
_word: tuple[Any, int] | None = None  # of a worker process: the place where it says what it is at


def note(number: int | None) -> None:
    """Say what this process is at, if it is a worker: should it be killed, that is reported."""
    if _word is not None:
        board, place = _word
        board[place] = _NOTHING if number is None else number


class WorkerPool:
    """Processes that end with this one and leave it the other cores.

    Parameters
    ----------
    count : int
    adopt : callable, optional
        Each process calls `adopt(*arguments)` once, before anything else. All of it must be
        picklable.
    """

    def __init__(self, count: int, adopt: Callable | None = None, *arguments: Any):
        # Imported here: multiprocessing would add a third to the time of `import minicnn`.
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        # Never fork: a child of a process with running OpenMP threads is killed at its first loop.
        available = multiprocessing.get_all_start_methods()
        method = "forkserver" if "forkserver" in available else "spawn"
        context: Any = multiprocessing.get_context(method)
        self._board = context.RawArray("q", 2 * count)  # of each: its number, and what it is at
        begun = context.Value("q")
        self._executor: Any = ProcessPoolExecutor(
            count,
            mp_context=context,
            initializer=_begin,
            initargs=(self._board, begun, adopt, arguments),
        )

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: Any) -> None:
        self.shutdown()

    def submit(self, function: Callable, *arguments: Any, **options: Any) -> Any:
        """Return the future of a call, as `ProcessPoolExecutor` does."""
        return self._executor.submit(function, *arguments, **options)

    def map(self, function: Callable, *sequences: Any) -> Any:
        """Yield the results in order, as `ProcessPoolExecutor` does."""
        return self._executor.map(function, *sequences)

    def shutdown(self, *, wait: bool = True, cancel_futures: bool = False) -> None:
        """End the processes, as `ProcessPoolExecutor` does."""
        self._executor.shutdown(wait=wait, cancel_futures=cancel_futures)

    def death(self, name: Callable[[int], str]) -> str:
        """Return in words which processes a broken pool died of, how, and what they were at.

        Parameters
        ----------
        name : callable
            Makes words of a number that a process has given to `note`.
        """
        processes = dict(self._executor._processes or {})  # forgotten by what comes next
        self.shutdown()
        at = dict(zip(self._board[::2], self._board[1::2], strict=True))
        codes = {number: process.exitcode for number, process in processes.items()}
        # Those with the last code were ended by the pool, after the one that died.
        died = {n: code for n, code in codes.items() if code not in (0, None, -signal.SIGTERM)}
        return " and ".join(
            _obituary(code, at.get(number, _NOTHING), name)
            for number, code in (died or codes).items()
        )


def _obituary(code, number, name):
    """Return how a process died and what it was at."""
    how = f"exit code {code}"
    if code is not None and code < 0:
        how = f"signal {-code}"
        if code == -9:
            how += ", which the system sends where memory is short"
    if number != _NOTHING:
        return f"a worker process died ({how}) at {name(number)}"
    return (
        f"a worker process died ({how}) at nothing yet; a script must guard its start with "
        "'if __name__ == \"__main__\":'"
    )


def _begin(board, begun, adopt, arguments):
    """Make this a worker process."""
    import threading

    global _word
    with begun.get_lock():
        place = begun.value
        begun.value += 1
    board[2 * place] = os.getpid()
    _word = board, 2 * place + 1
    note(None)
    set_num_threads(1)
    threading.Thread(target=_follow_parent, daemon=True).start()
    if adopt is not None:
        adopt(*arguments)


def _follow_parent():
    """End this worker when its parent ends: a killed one cannot say so."""
    from multiprocessing import parent_process

    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)
