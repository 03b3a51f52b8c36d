"""The documents about the events: what tools accept, and what may change in them."""

from __future__ import annotations

import copy
import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from shared.api.event_catalog import PREFIX, asyncapi, example, schema_of, schemas
from shared.domain.events import EVENT_TYPES
from tests.paths import ROOT

SENT = ROOT / "tests/golden/event-schemas.json"
NPM = ROOT / "local_stack/npm"
PARSE = """
const { Parser } = require('@asyncapi/parser');
let text = '';
process.stdin.on('data', (part) => { text += part; });
process.stdin.on('end', async () => {
  const { document, diagnostics } = await new Parser().parse(text);
  const messages = document ? document.allMessages().all().map((message) => message.name()) : [];
  console.log(JSON.stringify({ messages, diagnostics }));
});
"""


def changes(sent: Any, now: Any, at: str = "") -> Iterator[str]:
    """What a receiver of the one would miss or misread in the other: a description may change, a field be added."""
    if isinstance(sent, dict) and isinstance(now, dict):
        for key in sent.keys() - {"title", "description", "default"}:
            if key not in now:
                yield f"{at}/{key} is gone"
            else:
                yield from changes(sent[key], now[key], f"{at}/{key}")
        yield from (f"{at}/{key} is new" for key in now.keys() & {"pattern", "enum", "const"} - sent.keys())
    elif at.endswith("/required"):
        yield from (f"{at}: {name} may be missing" for name in sent if name not in now)
    elif sent != now:
        yield f"{at} was {sent}, is {now}"


def test_no_event_loses_or_changes_a_field_that_was_sent() -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        SENT.write_text(json.dumps(schemas(), indent=1, sort_keys=True) + "\n")
    sent = json.loads(SENT.read_text())
    assert list(changes(sent, schemas())) == []
    assert sent.keys() == schemas().keys(), "add the new ones: UPDATE_GOLDEN=1"


PROMOTED = "droptune.model.promoted.v1"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["ModelPromoted", "properties", "model"], None, "/ModelPromoted/properties/model is gone"),
        (["ModelPromoted", "properties", "model", "type"], "integer", "was string, is integer"),
        (["ModelPromoted", "required"], ["endpoint"], "deployment may be missing"),
        (["TrainingCompleted", "properties", "train_loss", "anyOf"], [{"type": "number"}], "is [{'type': 'number'}]"),
        (["FailureClass", "enum"], ["data", "new"], "is ['data', 'new']"),
        ([PROMOTED], None, f"/{PROMOTED} is gone"),
        ([PROMOTED, "properties", "type", "const"], "droptune.model.promoted.v2", "is droptune.model.promoted.v2"),
        (["ModelPromoted", "properties", "model", "pattern"], "^a", "/pattern is new"),
    ],
)  # fmt: skip
def test_a_change_of_what_was_sent_is_seen(path: list[str], value: Any, message: str) -> None:
    changed = copy.deepcopy(schemas())
    *above, last = path
    place: Any = changed
    for name in above:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    assert message in "\n".join(changes(schemas(), changed))


def test_a_field_more_and_another_description_are_no_change() -> None:
    changed = copy.deepcopy(schemas())
    changed["ModelPromoted"]["properties"]["region"] = {"type": "string"}
    changed["ModelPromoted"]["required"].append("region")
    changed["ModelPromoted"]["description"] = "In production."
    changed["droptune.model.moved.v1"] = {"type": "object"}
    assert list(changes(schemas(), changed)) == []


@pytest.mark.parametrize("wire_type", EVENT_TYPES)
def test_the_example_of_an_event_is_one_and_is_valid(wire_type: str) -> None:
    schema = schema_of(wire_type)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert PREFIX not in json.dumps(schema)
    shown = example(schemas()[wire_type])
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    validator.validate(shown)
    EVENT_TYPES[wire_type].model_validate(shown["data"])
    validator.validate({**shown, "traceparent": "00-1", "data": {**shown["data"], "later": 1}})
    for field in schema["required"]:
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({key: value for key, value in shown.items() if key != field})


@pytest.mark.ci
def test_the_official_parser_accepts_the_document_of_all_events() -> None:
    if not (NPM / "node_modules/@asyncapi/parser").is_dir():
        pytest.skip("the parser is not installed: make emulators")

    def parse(document: dict[str, Any]) -> dict[str, Any]:
        done = subprocess.run(
            ["node", "-e", PARSE], input=json.dumps(document), cwd=NPM, text=True, capture_output=True, check=True
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    found = parse(asyncapi("0.1.0"))
    assert found["diagnostics"] == []
    assert sorted(found["messages"]) == sorted(EVENT_TYPES)
    broken = asyncapi("0.1.0")
    broken["channels"]["pipeline"]["messages"]["model.promoted"]["$ref"] = "#/components/messages/gone"
    assert parse(broken)["messages"] == []
