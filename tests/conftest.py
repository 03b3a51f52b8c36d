"""Says at the end how many tests ran against which backend, and why tests were skipped, a line for each reason."""

from __future__ import annotations

import gc
import importlib
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Generator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from tests.examples import spread

# A deadline of an example is a matter of what else the machine does.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")

_SUITES = {
    "test_run_store": "run store",
    "test_event_bus": "event bus",
    "test_event_bus_locks": "event bus",
    "test_event_bus_model": "event bus",
    "test_blob_store": "blob store",
}
_BACKENDS = {
    "embedded": "embedded",
    "cosmos-emulator": "azure-cosmos on the Cosmos DB emulator",
    "cosmos-live": "azure-cosmos on live Azure",
    "emulated": "azure-servicebus on the AMQP emulator",
    "live": "azure-servicebus on live Azure",
    "azurite": "azure-storage-blob on Azurite",
    "blobs-live": "azure-storage-blob on live Azure",
}
_CONTRACT = re.compile(r"tests/contract/(\w+)\.py::\w+\[(" + "|".join(map(re.escape, _BACKENDS)) + r")[\]-]")


_AZURE_ML = ("tests/unit/local_stack/azure_ml/", "tests/unit/shared/clients/azure_ml/")
# Each worker that runs a test of these pays for what they share.
_TOGETHER = (
    (  # an emulator of Azure ML, and Chromium
        "tests/browser/",
        "tests/image/",
        "tests/unit/functions/http/test_base_models.py",
        "tests/unit/functions/http/test_http_fuzz.py",
        "tests/unit/infra/test_environments_hook.py",
        *_AZURE_ML,
        "tests/unit/shared/health/",
    ),
    ("tests/unit/functions/http/openai/",),  # import of openai
    (  # imports of torch and transformers, and a base with random weights
        "tests/unit/benchmarks/test_gpu_benchmark.py",
        "tests/unit/local_stack/tiny_base/",
        "tests/unit/shared/domain/planning/test_memory.py",
        "tests/unit/shared/rendering/",
        "tests/unit/training_job/",
    ),
)
_FAST_FOLDERS = tuple(f"tests/unit/{name}/" for name in ("cli", "docs", "functions", "infra", "recipes", "shared"))
# A test that takes one of these fixtures, or whose module has one of these names, has a process, a server or torch.
_SLOW_FIXTURES = {"azure_ml_sdk", "emulator", "torch"}
_NOT_FAST = (
    "tests/unit/functions/test_timers.py",  # each loop broken in each way
    "tests/unit/shared/grading/test_confined.py",  # likewise
    "tests/unit/shared/grading/test_isolated.py",
    "tests/unit/shared/grading/test_sandbox.py",  # a confined process for each test
    "tests/unit/shared/validation/test_containers.py",  # large files
    "tests/unit/shared/validation/test_split.py",  # random files
)
_SLOW_NAMES = {"multiprocessing", "subprocess", "azurite_url", "cosmos_url", "running"}


# Among tests of the whole stack, after the two files that take longest.
_GROUPS_RANK = -500.0
# Objects (700 by default). To look for garbage took a tenth of the time of the tests.
_GARBAGE_AFTER = 50_000


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What a worker collects lives until its end: the garbage collector need not look at it, then and later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(_GARBAGE_AFTER)
        gc.enable()


class FilesAndGroups(LoadFileScheduling):  # type: ignore[misc]
    """A worker gets a whole file, or all the files that share what takes long to start."""

    def _split_scope(self, nodeid: str) -> str:
        return _group_of(nodeid) or super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return FilesAndGroups(config, log) if config.getoption("dist") == "loadfile" else None


def _group_of(nodeid: str) -> str | None:
    return next((group[0] for group in _TOGETHER if nodeid.startswith(group)), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is fast, and put files that take long first: with several workers, the short ones fill the end."""
    _leave_cases_to_ci(items)
    ranks: dict[str, float] = {}
    for item in items:
        is_fast = isinstance(item, pytest.Function) and _is_fast(item)
        if is_fast:
            item.add_marker(pytest.mark.fast)
        ranks[_file_of(item)] = min(_rank(item, is_fast), ranks.get(_file_of(item), 1.0))
    items.sort(key=lambda item: ranks[_file_of(item)])


def _leave_cases_to_ci(items: list[pytest.Item]) -> None:
    """Of a test with `few_cases(n)`, `make test` runs n cases, evenly spaced, the first and the last among them."""
    tables = defaultdict(list)
    for item in items:
        few = item.get_closest_marker("few_cases") if "few_cases" in item.keywords else None
        if few and "slow" not in item.keywords:
            tables[item.nodeid.partition("[")[0], few.args[0], few.kwargs.get("ci")].append(item)
    for (_, number, of_ci), cases in tables.items():
        kept = spread(number, len(cases))
        also = set(range(len(cases))) if of_ci is None else spread(of_ci, len(cases))
        for index, case in enumerate(cases):
            if index not in kept:
                case.add_marker(pytest.mark.ci if index in also else pytest.mark.slow)


def _file_of(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def _rank(item: pytest.Item, is_fast: bool) -> float:
    if item.get_closest_marker("stack"):
        return -_timeout_s(item)
    return _GROUPS_RANK if _group_of(item.nodeid) else 1.0 if is_fast else 0.0


def _timeout_s(item: pytest.Item) -> float:
    """What each test of the whole stack is given: the longer, the longer it takes."""
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0]) if mark else 0.0


def _is_fast(item: pytest.Function) -> bool:
    return (
        item.nodeid.startswith(_FAST_FOLDERS)
        and not item.nodeid.startswith(_NOT_FAST)
        and _SLOW_FIXTURES.isdisjoint(item.fixturenames)
        and _SLOW_NAMES.isdisjoint(vars(item.module))
    )


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For where no Azure ML runs: nobody waits between the tries to reach it, some seconds for each question."""
    monkeypatch.setattr("azure.core.pipeline.transport.RequestsTransport.sleep", lambda _, seconds: None)


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    return importlib.import_module("torch")


@pytest.fixture(scope="session")
def azure_ml_sdk() -> ModuleType:
    """`azure.ai.ml`, imported by the tests that use it: it takes two seconds, and each worker imports every module."""
    with warnings.catch_warnings():
        # marshmallow, msrest and opentelemetry warn about each other while the SDK is imported.
        warnings.simplefilter("ignore")
        return importlib.import_module("azure.ai.ml")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, ()):
            if backend := _backend(report.nodeid):
                counts[backend][outcome] += 1
    if counts:
        terminalreporter.section("backends")
    for backend, outcomes in sorted(counts.items()):
        summary = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
        terminalreporter.write_line(f"{backend}: {summary}")
    skipped = terminalreporter.stats.get("skipped", ())
    if skipped:
        terminalreporter.section("skipped")
    for reason, count in sorted(Counter(report.longrepr[2] for report in skipped).items()):
        terminalreporter.write_line(f"{count} {reason.removeprefix('Skipped: ')}")


def _backend(nodeid: str) -> str | None:
    if nodeid.startswith(_AZURE_ML):
        return "Azure ML: the REST client on the emulator"
    match = _CONTRACT.match(nodeid)
    return f"{_SUITES[match[1]]}: {_BACKENDS[match[2]]}" if match and match[1] in _SUITES else None
