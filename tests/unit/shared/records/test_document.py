"""What all stored documents share: what they begin with, and that they keep what a later version put into them."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from shared.domain.catalog import LicenseDecision
from shared.domain.endpoint import EndpointRecord, ServedDeployment
from shared.domain.policy import PlatformPolicy
from shared.domain.results import CostEstimate
from shared.domain.run import Run, Status
from shared.domain.upgrades import SCHEMA_VERSION
from shared.ports import Message, Services, Write
from shared.records import (
    budget,
    claims,
    endpoints,
    outbox,
    policies,
    runs,
    serving_costs,
    ticks,
    uploads,
    waits,
)
from shared.records.document import head
from shared.records.outbox import Outgoing
from shared.runner import Runner
from tests.paths import ROOT
from tests.unit.shared.support import drop


def test_a_document_has_the_id_of_its_type_unless_it_has_one_of_its_own() -> None:
    assert head("run") == {"id": "run", "type": "run", "schema_version": SCHEMA_VERSION}
    assert head("outbox", "outbox-7") == {"id": "outbox-7", "type": "outbox", "schema_version": SCHEMA_VERSION}


class Kind(NamedTuple):
    """`change` is what a host of this version does with a document of the kind. `content`: where a later version may
    put something beside the document itself."""

    type: str
    make: Callable[[Services, Run], object]
    change: Callable[[Services, Run], object]
    content: str = ""


def record(run: Run) -> EndpointRecord:
    names = {"endpoint": "shop", "project": "shop", "champion": run.id, "deployment": "d-1", "model": "shop:1"}
    return EndpointRecord(**names, scoring_uri="https://example.com/", promoted_at=run.created_at)


def promoted(run: Run) -> EndpointRecord:
    previous = record(run).as_previous(run.created_at + timedelta(days=1))
    return record(run).model_copy(update={"champion": "run-2", "deployment": "d-2", "previous": previous})


def move(services: Services, run: Run) -> None:
    read = runs.read(services.store, run.id)
    assert read is not None
    services.store.batch(run.id, [runs.replacement(read.run.evolve(status=Status.FAILED, revision=2), read)])


def promote(services: Services, run: Run) -> None:
    endpoints.write(services.store, promoted(run), replacing=record(run))


def entry(services: Services, run: Run) -> Outgoing:
    return Outgoing("deliveries", Message("m", "subject", b'{"a": {"b": 1}}'))


def put_entry(services: Services, run: Run) -> None:
    services.store.batch(run.id, [outbox.creation(entry(services, run), run, services.clock.now())])


def serve(run_id: str) -> Callable[[Services, Run], None]:
    def begin(services: Services, run: Run) -> None:
        deployed = ServedDeployment(
            deployment=run_id, run=run_id, instance_type="x", instances=1, usd_per_hour=1, since=services.clock.now()
        )
        serving_costs.change(services.store, "shop", lambda costs: costs.begun(deployed))

    return begin


def wait_until(hour: int) -> Callable[[Services, Run], object]:
    wait = waits.Wait("shop", "2 runs", datetime(2026, 1, 1, hour, tzinfo=UTC))
    return lambda s, run: waits.note(s.store, run.id, wait)


def upload_by(name: str) -> Callable[[Services, Run], None]:
    by, of = uploads.Uploaders(name, (name,)), ("datasets/shop/a", "1", "0" * 64)
    return lambda services, run: uploads.record(services.store, *of, by, services.clock.now())


def decide(accepted: bool) -> Callable[[Services, Run], None]:
    fields = {"base_model": "a/b", "terms_sha256": "0" * 64, "by": "ada", "by_id": "ada", "comment": "a"}
    return lambda services, run: policies.decide_license(
        services.store, LicenseDecision(accepted=accepted, at=services.clock.now(), **fields)
    )


KINDS = (
    Kind("run", lambda services, run: None, move, "run"),
    Kind("run", lambda services, run: None, lambda s, run: Runner(s).note_timer(run.id, "reconcile", "fails"), "run"),
    Kind("endpoint", lambda s, run: endpoints.write(s.store, record(run), replacing=None), promote, "record"),
    Kind(
        "endpoint",
        lambda s, run: endpoints.write(s.store, promoted(run), replacing=None),
        lambda s, run: endpoints.withdraw(s.store, "shop", "run-2"),
        "record",
    ),
    Kind(
        "claim",
        lambda s, run: claims.take(s.store, "endpoint:shop", run.id, s.clock.now()),
        lambda s, run: claims.settle(s.store, "endpoint:shop", run.id),
    ),
    Kind("outbox", put_entry, lambda s, run: outbox.mark_sent(s.store, run.id, [entry(s, run)]), "body"),
    Kind(
        "budget",
        lambda s, run: budget.reserve(s.store, run, {"shop": 100}, 80),
        lambda s, run: budget.settle(s.store, run),
    ),
    Kind("serving_costs", serve("run-000000000001"), serve("run-000000000002"), "costs"),
    Kind(
        "policy",
        lambda s, run: policies.apply(s.store, PlatformPolicy(), 0, "ada", "ada", s.clock.now()),
        lambda s, run: policies.apply(s.store, PlatformPolicy(approvers=2), 1, "ada", "ada", s.clock.now()),
    ),
    Kind("license", decide(True), decide(False)),
    Kind("upload", upload_by("ada"), upload_by("grace")),
    Kind("wait", wait_until(1), wait_until(2)),
    Kind(
        "reconcile-tick",
        lambda s, run: ticks.record(s.store, s.clock.now(), ()),
        lambda s, run: ticks.record(s.store, s.clock.now() + timedelta(minutes=1), ()),
    ),
    Kind(
        "drop-zone-scan",
        lambda s, run: ticks.record_scan(s.store, ticks.DropZoneScan(s.clock.now())),
        lambda s, run: ticks.record_scan(s.store, ticks.DropZoneScan(s.clock.now(), cursor="c")),
    ),
    Kind(
        "failed-tick",
        lambda s, run: ticks.record_failures(s.store, "probe", s.clock.now(), {"a": "b"}),
        lambda s, run: ticks.record_failures(s.store, "probe", s.clock.now(), {}),
    ),
)


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
def test_a_document_of_any_kind_keeps_what_a_later_version_put_into_it(
    services: Services, runner: Runner, kind: Kind, seed: int
) -> None:
    dropped = drop(services, runner)
    assert dropped is not None
    run = dropped.evolve(cost=CostEstimate(low_usd=0, high_usd=9, hourly_usd=1, low_hours=0, high_hours=1))
    kind.make(services, run)
    found, _ = services.store.query(kind.type)
    of_the_drop = re.compile(r"dataset:|run-\w+ outbox\.run-")
    [stored] = [one for one in found if not of_the_drop.match(f"{one.partition} {one.document['id']}")]
    chance = random.Random(seed)
    later = with_more(stored.document, chance, kind.content)
    added = sorted(paths_of(later) - paths_of(stored.document))
    assert added
    services.store.batch(stored.partition, [Write("replace", later["id"], later)])
    kind.change(services, run)
    after = services.store.get(stored.partition, later["id"])
    assert after is not None
    assert {**after.document} != later, "nothing was changed"
    gone = ".record.previous." if after.document.get("record", {}).get("previous") is None else " "
    assert [path for path in added if path not in paths_of(after.document) and not path.startswith(gone)] == []


def with_more(document: dict[str, Any], chance: random.Random, content: str) -> dict[str, Any]:
    """The document with fields that this version does not know: on top, and anywhere below `content`."""
    values: tuple[Any, ...] = (None, 5, "x", [1, {"a": 2}], {"b": {"c": []}})
    more = {f"later_{n}": chance.choice(values) for n in range(chance.randint(1, 3))}
    if not content:
        return {**document, **more}
    return {**document, **more, content: deep(document[content], chance, values)}


def deep(value: Any, chance: random.Random, values: tuple[Any, ...]) -> Any:
    if isinstance(value, dict):
        more = {"later": chance.choice(values)} if chance.random() < 0.7 else {}
        return {**{name: deep(each, chance, values) for name, each in value.items()}, **more}
    return [deep(each, chance, values) for each in value] if isinstance(value, list) else value


def paths_of(value: Any, path: str = "") -> set[str]:
    """Paths of all fields of a later version."""
    if isinstance(value, list):
        return {found for n, each in enumerate(value) for found in paths_of(each, f"{path}[{n}]")}
    if not isinstance(value, dict):
        return set()
    own = {f"{path}.{name}" for name in value if name.startswith("later")}
    return own | {found for name, each in value.items() for found in paths_of(each, f"{path}.{name}")}


def test_documents_are_replaced_in_one_way_only_and_each_kind_that_is_replaced_is_tested() -> None:
    replacing, putting = set(), set()
    for file in sorted(Path(ROOT).glob("shared/**/*.py")) + sorted(Path(ROOT).glob("functions/**/*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id == "Write" and any("replace" in ast.unparse(each) for each in node.args[:1]):
                    replacing.add(file.stem)
                if node.func.id == "put":
                    putting.add(file.stem)
    assert replacing == {"document"}
    assert putting == {
        "runs",
        "endpoints",
        "claims",
        "outbox",
        "budget",
        "ticks",
        "serving_costs",
        "policies",
        "subscriptions",
        "inbound",
        "uploads",
        "waits",
    }
