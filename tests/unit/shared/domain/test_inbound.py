"""Events of other systems in both schemas, and the URLs in them."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import InvalidInput
from shared.domain.inbound import MAX_EVENTS, Incoming, Location, location_of, read_events

EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "1",
    "source": "/s",
    "type": "droptune.request.cancel.v1",
    "data": {"run": "run-0123456789ab"},
}
READ = Incoming(id="1", source="/s", type="droptune.request.cancel.v1", data={"run": "run-0123456789ab"})
STRUCTURED = "application/cloudevents+json; charset=utf-8"


def read(event: object, content_type: str = STRUCTURED, **attributes: str) -> list[Incoming]:
    return read_events(content_type, attributes, json.dumps(event).encode())


def test_all_forms_of_an_event_are_read_alike() -> None:
    assert read(EVENT) == [READ]
    assert read([EVENT, EVENT], "application/cloudevents-batch+json") == [READ, READ]
    assert read([], "application/cloudevents-batch+json") == []
    grid = {"id": "1", "topic": "/s", "eventType": READ.type, "data": READ.data, "subject": "x", "dataVersion": ""}
    assert read([grid], "application/json") == [READ]
    attributes = {name: value for name, value in EVENT.items() if name != "data"}
    assert read(READ.data, "application/json", **attributes) == [READ]
    assert read_events("", attributes, b"") == [READ.model_copy(update={"data": {}})]
    assert read(EVENT, "") == [READ], "messages of a queue may have no content type"


@pytest.mark.parametrize(
    ("event", "param"),
    [
        (5, "body"),
        ([None], "body"),
        ({}, "specversion"),
        ({**EVENT, "specversion": "0.3"}, "specversion"),
        ({**EVENT, "id": ""}, "id"),
        ({**EVENT, "id": 5}, "id"),
        ({**EVENT, "id": "i" * 1025}, "id"),
        ({**EVENT, "source": None}, "source"),
        ({**EVENT, "type": "t" * 201}, "type"),
        ({**EVENT, "data": "text"}, "data"),
        ({"eventType": "a", "id": "1"}, "source"),
    ],
)
def test_what_is_no_event_is_refused_by_name_and_place(event: object, param: str) -> None:
    with pytest.raises(InvalidInput, match="malformed_event") as refused:
        read(event)
    assert refused.value.problem.param == param


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe{\x00}\x00", b"[" * 100_000, b"nan", b'"\\ud800"'])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="malformed_event"):
        read_events(STRUCTURED, {}, body)


def test_other_formats_and_long_batches_are_refused() -> None:
    with pytest.raises(InvalidInput, match="unsupported_format"):
        read(EVENT, "application/cloudevents+avro")
    with pytest.raises(InvalidInput, match="unsupported_format"):
        read(EVENT, "text/plain", specversion="1.0")
    with pytest.raises(InvalidInput, match="too_many_events"):
        read([EVENT] * (MAX_EVENTS + 1))


@given(st.text(max_size=60), st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=5), st.binary())
def test_no_message_breaks_the_reader(content_type: str, attributes: dict[str, str], body: bytes) -> None:
    with suppress(InvalidInput):
        assert isinstance(read_events(content_type, attributes, body), list)


LAKE = Location("lake", "core.windows.net", "raw/machines/march 1.jsonl")


@pytest.mark.parametrize("endpoint", ["blob", "dfs"])
def test_a_location_is_read_of_both_endpoints(endpoint: str) -> None:
    assert location_of(f"https://lake.{endpoint}.core.windows.net/raw/machines/march%201.jsonl") == LAKE
    assert LAKE.url == "https://lake.blob.core.windows.net/raw/machines/march%201.jsonl"
    assert location_of(LAKE.url) == LAKE


@pytest.mark.parametrize("path", ["ws/item.Lakehouse/Files/a.csv", "w/ä?#b.csv"])
def test_onelake_and_odd_names_are_read_as_they_are(path: str) -> None:
    location = Location("onelake", "fabric.microsoft.com", path)
    assert location_of(location.url) == location


HOSTILE = [
    "", "lake", "http://lake.blob.core.windows.net/raw/a.jsonl", "https://lake.blob.core.windows.net/raw",
    "https://lake.blob.core.windows.net/raw/a.jsonl?sig=secret", "https://lake.blob.core.windows.net/raw/a.jsonl#x",
    "https://lake.blob.core.windows.net.evil.example/raw/a.jsonl", "https://evil.example/lake.blob.core.windows.net/a",
    "https://user@lake.blob.core.windows.net/raw/a.jsonl", "https://lake.blob.core.windows.net:444/raw/a.jsonl",
    "https://lake.blob.core.windows.net/raw/../other/a.jsonl", "https://lake.blob.core.windows.net/raw/%2e%2e/a.jsonl",
    "https://lake.blob.core.windows.net/raw/.hidden", "https://lake.blob.core.windows.net//a.jsonl",
    "https://lake.blob.core.windows.net/raw/a%00b", "https://lake.blob.core.windows.net/raw/a%5cb",
    "https://lake.file.core.windows.net/raw/a.jsonl", "https://127.0.0.1/raw/a.jsonl", "file:///etc/passwd",
    "https://lake.blob.core.windows.net/raw/" + "a" * 4096, "https://[lake.blob.core.windows.net/raw/a",
    "https://evil.example%2flake.blob.core.windows.net/raw/a", "https://a.b.blob.core.windows.net/raw/a",
]  # fmt: skip


@pytest.mark.parametrize("url", HOSTILE)
def test_every_other_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="bad_storage_url"):
        location_of(url)


@given(st.text(max_size=80).map(lambda text: f"https://lake.blob.core.windows.net/raw/{text}"))
def test_whatever_a_path_is_what_is_read_stays_below_the_container_that_was_looked_at(url: str) -> None:
    try:
        location = location_of(url)
    except InvalidInput:
        return
    assert location.url.startswith("https://lake.blob.core.windows.net/raw/")
    assert not {"", ".", ".."} & set(location.path.split("/"))
    assert location_of(location.url) == location


def test_an_allow_list_names_whole_parts() -> None:
    assert LAKE.is_within(("other/raw", "lake/raw"))
    assert LAKE.is_within(("lake/raw/machines/",))
    for other in ("lake/ra", "lake/raw/mach", "lak/raw", "lake/raw/machines/march 1.jsonl/x", ""):
        assert not LAKE.is_within((other,))
    assert not LAKE.is_within(())


def test_files_of_one_folder_are_copied_side_by_side_and_others_apart() -> None:
    recipe = LAKE._replace(path="raw/machines/recipe.yaml")
    folder, _, name = LAKE.copied_to("shop").rpartition("/")
    assert (folder, name) == (recipe.copied_to("shop").rpartition("/")[0], "march 1.jsonl")
    assert folder.startswith("datasets/shop/lake-")
    others = [LAKE._replace(path="raw/other/a"), LAKE._replace(cloud="core.chinacloudapi.cn")]
    assert len({one.copied_to("shop").rpartition("/")[0] for one in (LAKE, *others)}) == 3


def test_a_text_of_the_data_has_the_form_that_is_asked_for() -> None:
    assert READ.text("run", "run-[0-9a-f]{12}") == "run-0123456789ab"
    for data in ({}, {"run": 5}, {"run": "run-1"}, {"run": "r" * 5000}):
        with pytest.raises(InvalidInput, match="malformed_event"):
            READ.model_copy(update={"data": data}).text("run", "r.*[0-9a-f]{12}")
