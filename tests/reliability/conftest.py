"""What the tests of promises share: how often, how long, and the line that says what was kept.

Each file here proves one promise. It names it in `PROMISE`, and in `MINUTES` how long any of its
tests may take at full counts. `make test` runs a quick version of each, in seconds; `make torture`
(`pytest tests/reliability --torture`) runs the full one. A test takes its count from
`times(quick=2, full=100)`, and says what it has counted by `count(kills=100)`: sums of that are the
promise's line at the end.
"""

import signal
from collections import defaultdict

import pytest

from tests.reliability.lives import live

# How long a quick test may take, on a machine that does other things too [s].
QUICK = 120


def pytest_itemcollected(item):
    if "/reliability/" in item.path.as_posix():
        item.user_properties.append(("promise", item.module.PROMISE))


def pytest_collection_modifyitems(config, items):
    if not config.getoption("torture"):
        for item in items:
            if item.get_closest_marker("torture"):
                item.add_marker(pytest.mark.skip(reason="make torture runs it"))


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


def pytest_terminal_summary(terminalreporter, config):
    """Print a line for each promise, with its counts, and say FAILED where it was not kept."""
    outcomes = defaultdict(lambda: defaultdict(int))
    counts = defaultdict(lambda: defaultdict(int))
    seconds = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            properties = report.user_properties if isinstance(report, pytest.TestReport) else ()
            promise = dict(properties).get("promise")
            if promise is None:
                continue
            seconds[promise] += report.duration
            if report.when == "call" or not report.passed:
                outcomes[promise][report.outcome] += 1
            if report.when == "call":
                for name, value in properties:
                    for each, number in value.items() if name == "counts" else ():
                        counts[promise][each] += number
    if not outcomes:
        return
    version = "full" if config.getoption("torture") else "quick"
    terminalreporter.section(f"promises, {version} counts")
    for promise, found in outcomes.items():
        kept = "FAILED" if "failed" in found else "kept" if "passed" in found else "skipped"
        what = [f"{number:,} {name.replace('_', ' ')}" for name, number in counts[promise].items()]
        tests = ", ".join(f"{number} {outcome}" for outcome, number in found.items())
        terminalreporter.write_line(
            f"{kept:<8}{promise}: {', '.join(what) or 'nothing counted'} "
            f"(tests: {tests}; {seconds[promise]:.0f} s)"
        )
