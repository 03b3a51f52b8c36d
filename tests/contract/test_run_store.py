"""What a RunStore promises, whichever it is."""

from __future__ import annotations

import base64
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from shared.domain.errors import InvalidInput, StoreConflict
from shared.domain.run import Status
from shared.ports import RunStore, Stored, Write
from shared.ports.store import FILTERS
from shared.records import runs
from shared.records.unreadable import unreadable
from shared.runner import Runner
from tests.contract.backends import OpenStore, StoreBackend
from tests.contract.threads import in_threads
from tests.examples import examples
from tests.fresh_process import fresh_process
from tests.unit.shared.steps.platform import Platform
from tests.unit.shared.support import drop

ChangeKind = Literal["replace", "delete"]


@pytest.fixture
def store(stored: StoreBackend) -> RunStore:
    return stored.store


@pytest.fixture
def partition() -> str:
    return f"run-{uuid.uuid4().hex}"


@pytest.fixture
def kind() -> str:
    """A document type no other test uses."""
    return f"type-{uuid.uuid4().hex}"


def run(id: str = "run", **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": "run", "created_at": "2026-01-01T00:00:00Z", **fields}


def create(id: str, ttl_s: int | None = None, **fields: Any) -> Write:
    return Write("create", id, run(id, **fields), ttl_s=ttl_s)


def read(store: RunStore, partition: str, id: str) -> Stored:
    found = store.get(partition, id)
    assert found is not None, f"{id} is absent"
    return found


def test_an_absent_document_is_none(store: RunStore, partition: str) -> None:
    assert store.get(partition, "run") is None


def test_a_document_comes_back_as_it_was_written(store: RunStore, partition: str) -> None:
    document = run(
        text='Größe\n\u0000 🙂 "quoted"',
        nested={"list": [1, 2.5, None, True, {"deep": []}], "empty": {}},
        big=2**53 - 1,
    )
    store.batch(partition, [Write("create", "run", document)])
    assert read(store, partition, "run").document == document


def test_a_document_is_not_shared_with_the_caller(store: RunStore, partition: str) -> None:
    document = run(history=["received"])
    store.batch(partition, [Write("create", "run", document)])
    document["history"].append("written after the batch")
    read(store, partition, "run").document["history"].append("written into what was read")
    assert read(store, partition, "run").document["history"] == ["received"]


def test_partitions_do_not_see_each_other(store: RunStore, partition: str) -> None:
    store.batch(partition, [create("run", status="here")])
    store.batch(partition + "-other", [create("run", status="there")])
    assert read(store, partition, "run").document["status"] == "here"
    assert read(store, partition + "-other", "run").document["status"] == "there"


def test_create_is_refused_if_the_id_is_taken(store: RunStore, partition: str) -> None:
    store.batch(partition, [create("run", status="first")])
    with pytest.raises(StoreConflict, match=f"{partition}/run was changed by another writer"):
        store.batch(partition, [create("run", status="second")])
    assert read(store, partition, "run").document["status"] == "first"


def test_every_write_gives_a_new_etag(store: RunStore, partition: str) -> None:
    etags = set()
    store.batch(partition, [create("run")])
    for _ in range(3):
        etags.add(read(store, partition, "run").etag)
        store.batch(partition, [Write("replace", "run", run())])
    store.batch(partition, [Write("delete", "run")])
    store.batch(partition, [create("run")])
    etags.add(read(store, partition, "run").etag)
    assert len(etags) == 4


def test_a_write_leaves_the_etags_of_other_documents_alone(store: RunStore, partition: str) -> None:
    store.batch(partition, [create("run"), create("other")])
    before = read(store, partition, "other").etag
    store.batch(partition, [Write("replace", "run", run())])
    assert read(store, partition, "other").etag == before


@pytest.mark.parametrize("kind_of_write", ["replace", "delete"])
def test_a_write_with_an_old_etag_is_refused(store: RunStore, partition: str, kind_of_write: ChangeKind) -> None:
    store.batch(partition, [create("run", status="old")])
    old = read(store, partition, "run").etag
    store.batch(partition, [Write("replace", "run", run(status="new"), etag=old)])
    with pytest.raises(StoreConflict, match=f"{partition}/run "):
        store.batch(partition, [Write(kind_of_write, "run", _document_for(kind_of_write), etag=old)])
    assert read(store, partition, "run").document["status"] == "new"


@pytest.mark.parametrize("etag", [None, "0123456789"])
@pytest.mark.parametrize("kind_of_write", ["replace", "delete"])
def test_a_write_to_an_absent_document_is_refused(
    store: RunStore, partition: str, kind_of_write: ChangeKind, etag: str | None
) -> None:
    with pytest.raises(StoreConflict, match=f"{partition}/run "):
        store.batch(partition, [Write(kind_of_write, "run", _document_for(kind_of_write), etag=etag)])
    assert store.get(partition, "run") is None


def test_a_delete_without_etag_needs_presence_only(store: RunStore, partition: str) -> None:
    store.batch(partition, [create("run")])
    store.batch(partition, [Write("delete", "run")])
    assert store.get(partition, "run") is None


def _document_for(kind_of_write: ChangeKind) -> dict[str, Any] | None:
    return None if kind_of_write == "delete" else run(status="by the loser")


def test_a_batch_with_one_conflict_writes_nothing(store: RunStore, partition: str) -> None:
    store.batch(partition, [create("run", status="received"), create("claimed")])
    before = read(store, partition, "run")
    writes = [
        Write("replace", "run", run(status="validated"), etag=before.etag),
        create("history-1"),
        create("claimed"),
        Write("delete", "run"),
    ]
    with pytest.raises(StoreConflict, match=f"{partition}/claimed "):
        store.batch(partition, writes)
    assert read(store, partition, "run") == before
    assert store.get(partition, "history-1") is None


def test_an_empty_batch_changes_nothing(store: RunStore, partition: str) -> None:
    store.batch(partition, [])
    assert store.list_partition(partition, "run") == []


def test_a_batch_takes_a_hundred_writes_and_no_more(store: RunStore, partition: str) -> None:
    store.batch(partition, [create(f"d{n}") for n in range(100)])
    assert len(store.list_partition(partition, "run")) == 100
    with pytest.raises(InvalidInput, match="batch_too_large: a batch has at most 100 writes, not 101"):
        store.batch(partition, [Write("delete", f"d{n}") for n in range(100)] + [create("one-more")])
    assert len(store.list_partition(partition, "run")) == 100


def test_a_batch_over_two_megabytes_is_refused(store: RunStore, partition: str) -> None:
    megabyte = 1024 * 1024
    store.batch(partition, [create("fits", text="x" * (3 * megabyte // 2))])
    with pytest.raises(InvalidInput, match="batch_too_large: a batch has at most 2097152 bytes"):
        store.batch(partition, [create(f"d{n}", text="x" * megabyte) for n in range(2)])
    assert store.get(partition, "d0") is None


@pytest.mark.parametrize("id", ["", "a/b", "a\\b", "a?b", "a#b", "a\nb", "x" * 1024])
def test_an_id_cosmos_would_refuse_is_refused(store: RunStore, partition: str, id: str) -> None:
    with pytest.raises(InvalidInput, match="bad_id: an id has 1 to 1023 bytes") as caught:
        store.batch(partition, [create(id)])
    assert caught.value.problem.param == "id"


def test_ids_of_claims_are_fine(store: RunStore, partition: str) -> None:
    for id in ("dataset:acme:0f3a:9b", "endpoint:triage v2", "x" * 1023, "Größe", "run.a_b-c@d"):
        store.batch(partition, [create(id)])
        assert read(store, partition, id).document["id"] == id


@pytest.mark.parametrize(
    ("write", "error"),
    [
        (Write("upsert", "run", run()), "bad_write: there is no write of kind 'upsert'"),  # type: ignore[arg-type]
        (Write("create", "run"), "bad_write: the create of run has no document"),
        (Write("replace", "run"), "bad_write: the replace of run has no document"),
        (Write("create", "run", run(), etag="1"), "bad_write: the create of run has an etag"),
        (Write("create", "run", run(), ttl_s=0), "bad_write: ttl_s is 0, not a positive number"),
        (Write("create", "run", {"id": "run"}), "bad_document: document run has no string `type`"),
        (Write("create", "run", run("other")), "bad_document: document run calls itself other"),
        (create("run", created_at=5), "bad_document: `created_at` of document run is not a string"),
        (create("run", ttl=5), "bad_document: document run has the reserved field ttl"),
        (create("run", _etag="1"), "bad_document: document run has the reserved field _etag"),
        (create("run", score=float("nan")), "bad_document: document run is not JSON: Out of range"),
        (create("run", path={1}), "bad_document: document run is not JSON: Object of type set"),
        (create("run", text="\ud800"), "bad_document: document run is not JSON: .*surrogates not allowed"),
    ],
)
def test_a_malformed_write_is_refused(store: RunStore, partition: str, write: Write, error: str) -> None:
    with pytest.raises(InvalidInput, match=error):
        store.batch(partition, [create("earlier"), write])
    assert store.get(partition, "earlier") is None


def test_an_expired_document_is_gone(stored: StoreBackend, partition: str, kind: str) -> None:
    store = stored.store
    store.batch(partition, [create("stays", type=kind), create("goes", type=kind, ttl_s=3)])
    assert len(store.list_partition(partition, kind)) == 2
    stored.wait(4)
    assert store.get(partition, "goes") is None
    assert [one.document["id"] for one in store.list_partition(partition, kind)] == ["stays"]
    assert [one.document["id"] for one in store.query(kind)[0]] == ["stays"]


@pytest.mark.parametrize("kind_of_write", ["replace", "delete"])
def test_an_expired_document_can_be_created_but_not_changed(
    stored: StoreBackend, partition: str, kind_of_write: ChangeKind
) -> None:
    stored.store.batch(partition, [create("run", ttl_s=3)])
    etag = read(stored.store, partition, "run").etag
    stored.wait(4)
    with pytest.raises(StoreConflict, match=f"{partition}/run "):
        stored.store.batch(partition, [Write(kind_of_write, "run", _document_for(kind_of_write), etag=etag)])
    stored.store.batch(partition, [create("run", status="again")])
    assert read(stored.store, partition, "run").document["status"] == "again"


def test_a_replace_restarts_or_ends_the_time_to_live(stored: StoreBackend, partition: str) -> None:
    stored.store.batch(partition, [create("restarted", ttl_s=4), create("ended", ttl_s=4)])
    stored.wait(2)
    stored.store.batch(
        partition,
        [Write("replace", "restarted", run("restarted"), ttl_s=6), Write("replace", "ended", run("ended"))],
    )
    stored.wait(3)
    assert stored.store.get(partition, "restarted") is not None
    stored.wait(5)
    assert stored.store.get(partition, "restarted") is None
    assert stored.store.get(partition, "ended") is not None


def test_a_partition_is_listed_by_type_and_ordered_by_id(store: RunStore, partition: str) -> None:
    store.batch(partition, [create(id) for id in ("b", "c", "a")] + [create("0", type="history")])
    store.batch(partition + "-other", [create("d")])
    assert [one.document["id"] for one in store.list_partition(partition, "run")] == ["a", "b", "c"]
    assert store.list_partition(partition, "run")[0] == store.get(partition, "a")


def test_a_query_spans_partitions_and_puts_the_newest_first(store: RunStore, partition: str, kind: str) -> None:
    for id, day in (("old", 1), ("tie-b", 2), ("tie-a", 2), ("new", 3)):
        store.batch(f"{partition}-{id}", [create(id, type=kind, created_at=f"2026-01-0{day}T00:00:00Z")])
    found, cursor = store.query(kind)
    assert [one.document["id"] for one in found] == ["new", "tie-a", "tie-b", "old"]
    assert cursor is None
    assert found[0] == store.get(f"{partition}-new", "new")


def test_a_query_filters_on_equal_fields_of_equal_type(store: RunStore, partition: str, kind: str) -> None:
    documents: dict[str, dict[str, Any]] = {
        "queried": {"project": "acme", "status": "x", "sent": 0},
        "other-value": {"project": "acme", "status": "y", "sent": 1},
        "other-project": {"project": 'a"c\\me', "sent": 0},
        "bool": {"project": "acme", "sent": False},
        "text": {"project": "acme", "sent": "0"},
        "null": {"project": "acme", "sent": None},
        "absent": {"project": "acme"},
        "list": {"project": ["acme"], "status": "x", "sent": 0},
    }
    store.batch(partition, [create(id, type=kind, **fields) for id, fields in documents.items()])

    def ids(equals: dict[str, str | int]) -> list[str]:
        return sorted(one.document["id"] for one in store.query(kind, equals)[0])

    assert ids({"project": "acme", "status": "x"}) == ["queried"]
    assert ids({"status": "x", "project": "acme"}) == ["queried"]
    assert ids({"sent": 0}) == ["list", "other-project", "queried"]
    assert ids({"sent": "0"}) == ["text"]
    assert ids({"sent": False}) == ["bool"]
    assert ids({"project": 'a"c\\me'}) == ["other-project"]
    assert ids({"project": '["acme"]'}) == []
    assert ids({"project": "nobody"}) == []
    assert len(ids({})) == len(documents)


@pytest.mark.parametrize("fields", FILTERS)
def test_pages_of_each_filter_hold_what_fits_it_once_and_in_order(
    store: RunStore, partition: str, kind: str, fields: tuple[str, ...]
) -> None:
    matching: dict[str, str | int] = dict.fromkeys(fields, 0)
    for n in range(7):
        for fits in (True, False):
            values = matching if fits else dict.fromkeys(fields, 1)
            id, created_at = f"{n}-{fits}", f"2026-01-01T00:00:0{n // 2}Z"
            store.batch(f"{partition}-{n}", [create(id, type=kind, created_at=created_at, **values)])
    expected = [one.document for one in store.query(kind, matching)[0]]
    assert len(expected) == (7 if fields else 14)
    seen, after, more = [], None, True
    while more:
        found, after = store.query(kind, matching, limit=2, after=after)
        seen += [one.document for one in found]
        more = after is not None
    assert seen == expected
    assert [one["created_at"] for one in seen] == sorted((one["created_at"] for one in seen), reverse=True)


def test_pages_hold_every_document_once_though_others_are_written_meanwhile(
    store: RunStore, partition: str, kind: str
) -> None:
    # Every third document shares its time with the one before: pages end in the middle of a tie.
    expected = [f"d{n:02}" for n in range(25)]
    for n, id in enumerate(reversed(expected)):
        time = f"2026-01-01T00:00:{n - n % 3:02}Z"
        store.batch(f"{partition}-{id}", [create(id, type=kind, created_at=time)])
    expected = [one.document["id"] for one in store.query(kind)[0]]
    seen: list[str] = []
    after = None
    for page in range(5):
        found, after = store.query(kind, limit=5, after=after)
        seen += [one.document["id"] for one in found]
        assert (after is None) == (page == 4)
        newer = f"newer-{page}"
        store.batch(f"{partition}-{newer}", [create(newer, type=kind, created_at="2027-01-01T00:00:00Z")])
    assert seen == expected


def test_equal_ids_of_two_partitions_are_both_in_the_pages(store: RunStore, partition: str, kind: str) -> None:
    for n in range(3):
        store.batch(f"{partition}-{n}", [create("run", type=kind, n=n)])
    seen = []
    after = None
    for _ in range(3):
        found, after = store.query(kind, limit=1, after=after)
        seen += [one.document["n"] for one in found]
    assert sorted(seen) == [0, 1, 2]
    assert after is None


def test_a_query_refuses_what_it_does_not_understand(store: RunStore, kind: str) -> None:
    for cursor in ("not a cursor", base64.urlsafe_b64encode(b'["\\ud800","b","c"]').decode()):
        with pytest.raises(InvalidInput, match="bad_cursor: the cursor is not one this store gave out"):
            store.query(kind, after=cursor)
    with pytest.raises(InvalidInput, match="bad_limit: limit is 0, not within 1 and 1000"):
        store.query(kind, limit=0)
    for fields in (['status" OR 1=1 --'], ["run_id"], ["project", "sent"]):
        with pytest.raises(InvalidInput, match="no_index: there is no index of a type's documents by"):
            store.query(kind, dict.fromkeys(fields, 1))


def test_no_increment_of_eight_writers_is_lost(store: RunStore, partition: str) -> None:
    store.batch(partition, [create("ledger", spent=0)])

    def spend(_: int) -> None:
        done = 0
        while done < 15:
            ledger = read(store, partition, "ledger")
            document = ledger.document | {"spent": ledger.document["spent"] + 1}
            try:
                store.batch(partition, [Write("replace", "ledger", document, etag=ledger.etag)])
                done += 1
            except StoreConflict:
                pass

    in_threads(8, spend)
    assert read(store, partition, "ledger").document["spent"] == 8 * 15


def test_of_eight_writers_one_gets_the_claim(store: RunStore, partition: str) -> None:
    winners = []

    def claim(n: int) -> None:
        try:
            store.batch(partition, [create("endpoint:triage", owner=n)])
            winners.append(n)
        except StoreConflict:
            pass

    in_threads(8, claim)
    assert [read(store, partition, "endpoint:triage").document["owner"]] == winners


_IDS = st.sampled_from("abc")
_WRITES = st.lists(
    st.tuples(st.sampled_from(["create", "replace", "delete"]), _IDS, st.sampled_from([None, "current", "stale"])),
    min_size=1,
    max_size=5,
)


@examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(_WRITES, max_size=12))
def test_batches_do_what_a_dictionary_would(open_store: OpenStore, batches: Any) -> None:
    """Each batch changes the store as it changes a copy of the model, or neither."""
    partition = f"run-{uuid.uuid4().hex}"
    with open_store() as backend:
        store = backend.store
        model: dict[str, int] = {}
        for number, batch in enumerate(batches):
            etags = {one.document["id"]: one.etag for one in store.list_partition(partition, "run")}
            after, writes, allowed, touched = dict(model), [], True, set()
            for kind, id, condition in batch:
                etag = None
                if kind != "create" and condition is not None:
                    etag = etags.get(id, "none") if condition == "current" else "stale"
                    # An etag read before the batch is stale once an earlier write of it touched the document.
                    allowed &= condition == "current" and id in etags and id not in touched
                document = None if kind == "delete" else run(id, n=number)
                writes.append(Write(kind, id, document, etag=etag))
                allowed &= (id in after) != (kind == "create")
                touched.add(id)
                if kind == "delete":
                    after.pop(id, None)
                else:
                    after[id] = number
            if allowed:
                store.batch(partition, writes)
                model = after
            else:
                with pytest.raises(StoreConflict):
                    store.batch(partition, writes)
            found = store.list_partition(partition, "run")
            assert {one.document["id"]: one.document["n"] for one in found} == model


def test_a_run_that_cannot_be_read_is_named_and_repaired_in_every_store(
    stored: StoreBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fresh_process(tmp_path, monkeypatch) as embedded:
        services = replace(embedded, store=stored.store, launcher=Platform())  # type: ignore[arg-type]
        made = [drop(services, Runner(services), f"datasets/{uuid.uuid4().hex}/train.jsonl") for _ in range(3)]
        good, bad, gone = (run for run in made if run is not None)
        for run, changes, status in (
            (bad, {"curated": 5, "status": "deploying"}, "deploying"),
            (gone, {"status": 5}, "lost"),
        ):
            document = {**runs.document_of(run), "status": status}
            spoiled = {**document, "run": {**document["run"], **changes}}
            stored.store.batch(run.id, [Write("replace", runs.RUN, spoiled)])
        mine = {run.id for run in (good, bad, gone)}
        assert {one.partition for one in unreadable(stored.store, embedded.clock.now())} & mine == {bad.id, gone.id}
        for run in (bad, gone):
            released = Runner(services).release_unreadable(run.id, runs.RUN, "ada")
            assert released is not None
            assert released[1] == run.id
        assert {one.partition for one in unreadable(stored.store, embedded.clock.now())} & mine == set()
        ended = runs.load(stored.store, gone.id)
        assert ended is not None
        assert ended.status is Status.FAILED
        repaired = runs.load(stored.store, bad.id)
        assert repaired is not None
        assert (repaired.status, repaired.dataset, repaired.revision) == (Status.FAILED, bad.dataset, bad.revision + 1)
        assert runs.load(stored.store, good.id) == good
