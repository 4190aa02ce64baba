"""What the tests of promises share: how often, how long, and the line that says what was kept.

Each file here proves one promise. It names it in `PROMISE`, and in `MINUTES` how long any of its
tests may take at full counts. `make test` runs a quick version of each, in seconds; `make torture`
(`pytest tests/reliability --torture`) runs the full one. A test takes its count from
`times(quick=2, full=100)`, and says what it has counted by `count(kills=100)`: sums of that are the
promise's line at the end.

At full counts a promise is kept only if tests of its file were tried, and passed. A test that is
skipped lacks something here, a right or a package, and the line says so. One that would make no
sense is not skipped, but left out of the parameters.
"""

import re
import signal
from collections import defaultdict
from dataclasses import dataclass, field

import pytest

from tests.reliability.lives import live

# How long a quick test may take, on a machine that does other things too [s].
QUICK = 120
NOT_QUICK = "make torture runs it"

# The promise of each file that was looked into, the files of which somebody chose tests, and what
# became of each promise.
FILES = pytest.StashKey[dict[str, str]]()
CHOSEN = pytest.StashKey[set[str]]()
PROMISES = pytest.StashKey[dict[str, "Promise"]]()


@dataclass
class Promise:
    """What became of a promise: its tests, what was lacking for which of them, and its counts."""

    passed: int = 0
    failed: int = 0
    lacking: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    seconds: float = 0

    def take(self, report):
        """Add what a test reports, or its file if that could not be read."""
        self.seconds += getattr(report, "duration", 0)
        self.failed += report.failed
        if report.skipped:
            reason = report.longrepr[2].removeprefix("Skipped: ")
            if reason != NOT_QUICK:
                test = report.nodeid.partition("::test_")[2].partition("[")[0]
                self.lacking[reason].add(test.replace("_", " ") or "all of it")
        elif report.when == "call" and report.passed:
            self.passed += 1
            for name, value in report.user_properties:
                for each, number in value.items() if name == "counts" else ():
                    self.counts[each] += number

    def state(self, full):
        """Return whether it is kept, and the colour of that."""
        if self.failed or (full and not self.passed):
            return "FAILED", "red"
        if self.lacking:
            return ("partly" if self.passed else "skipped"), "yellow"
        return ("kept", "green") if self.passed else ("skipped", "yellow")

    def __str__(self):
        what = [f"{number:,} {name.replace('_', ' ')}" for name, number in self.counts.items()]
        tests = f"{self.passed} passed" + (f", {self.failed} failed" if self.failed else "")
        lacking = [f"{', '.join(sorted(of))} ({why})" for why, of in self.lacking.items()]
        return f"{', '.join(what) or 'nothing counted'} (tests: {tests}; {self.seconds:.0f} s)" + (
            f"; but not: {'; '.join(lacking)}" if lacking else ""
        )


def pytest_make_collect_report(collector):
    """Take a file's promise from its text: it is one even where the file cannot be imported."""
    if isinstance(collector, pytest.Module):
        text = collector.path.read_text(encoding="utf-8")
        [promise] = re.findall(r'^PROMISE = "(.+)"$', text, re.MULTILINE)
        collector.config.stash.setdefault(FILES, {})[collector.nodeid] = promise


def pytest_collection_modifyitems(config, items):
    if not config.getoption("torture"):
        for item in items:
            if item.get_closest_marker("torture"):
                item.add_marker(pytest.mark.skip(reason=NOT_QUICK))


def pytest_deselected(items):
    for item in items:
        item.config.stash.setdefault(CHOSEN, set()).add(_file(item))


def _file(node):
    return node.nodeid.partition("::")[0]


@pytest.fixture
def times(pytestconfig):
    """Return a function that chooses how often: `times(quick=2, full=100)`."""
    return lambda *, quick, full: full if pytestconfig.getoption("torture") else quick


@pytest.fixture
def count(request):
    """Return a function that takes what a test has counted, by name."""
    return lambda **counts: request.node.user_properties.append(("counts", counts))


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory):
    """What the run of `training` comes to if nobody disturbs it, and how long that takes [s]."""
    [done] = live("tests.reliability.training", tmp_path_factory.mktemp("whole")).said
    _, digest, seconds = done.split()
    return digest, float(seconds)


@pytest.fixture(autouse=True)
def _bounded(request, pytestconfig):
    """Let a test fail that takes longer than its file allows."""
    full = pytestconfig.getoption("torture")
    limit = round(60 * request.module.MINUTES) if full else QUICK
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def late(*_):
        pytest.fail(f"it takes longer than {limit} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(limit)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pytest_sessionfinish(session):
    """Let a session at full counts fail in which a promise was not tried."""
    config = session.config
    files, chosen = config.stash.get(FILES, {}), config.stash.get(CHOSEN, set())
    # Where somebody chose among tests, the promises of the others are not asked for.
    asked = files.keys() - (chosen - set(map(_file, session.items)))
    promises = {files[name]: Promise() for name in files if name in asked}
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    for reports in reporter.stats.values() if reporter else ():
        for report in reports:
            is_one = isinstance(report, (pytest.TestReport, pytest.CollectReport))
            if is_one and (promise := promises.get(files.get(_file(report)))):
                promise.take(report)
    config.stash[PROMISES] = promises
    full = config.getoption("torture")
    states = {promise.state(full)[0] for promise in promises.values()}
    if full and "FAILED" in states and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    """Print a line for each promise, with its counts, and say FAILED where it was not kept."""
    if not (promises := config.stash.get(PROMISES, {})):
        return
    full = config.getoption("torture")
    terminalreporter.section(f"promises, {'full' if full else 'quick'} counts")
    for name, promise in promises.items():
        state, colour = promise.state(full)
        terminalreporter.write_line(f"{state:<8}{name}: {promise}", **{colour: True})
