"""What each kind of target receives, checked by the validator of its format: CloudEvents, Adaptive Cards, Block Kit."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block

from shared.api.event_catalog import example, schema_of, schemas
from shared.clients.target_formats import notice_of, request_of
from shared.domain.errors import FailureClass, Problem
from shared.domain.evaluation import GateCheck
from shared.domain.events import (
    EVENT_TYPES,
    ApprovalRequested,
    EvaluationFailed,
    Event,
    EventData,
    ModelPromoted,
    ModelRolledBack,
    RunFailed,
    ValidationFailed,
)
from tests.paths import ROOT
from tests.subscriptions import subscription
from tests.unit.shared.support import RESULT, VERDICT

APP = "https://app.example"
RUN = "run-3fa1b2c4d5e6"
NPM = ROOT / "local_stack/npm"
CARDS = NPM / "node_modules/adaptivecards/dist/adaptivecards.js"
PARSE = """
const { AdaptiveCard, SerializationContext, Version } = require(process.argv[1]);
let text = '';
process.stdin.on('data', (part) => { text += part; });
process.stdin.on('end', () => {
  const problems = [];
  for (const card of JSON.parse(text)) {
    const parsed = new AdaptiveCard(), context = new SerializationContext(Version.v1_4);
    parsed.parse(card, context);
    for (let index = 0; index < context.eventCount; index++) problems.push(context.getEventAt(index).message);
    for (const found of parsed.validateProperties().validationEvents) problems.push(found.message);
  }
  console.log(JSON.stringify(problems));
});
"""
FAILED_CHECK = VERDICT.model_copy(
    update={"passed": False, "checks": (GateCheck(name="min_score", passed=False, detail="0.900 < 0.950"),)}
)


def event(data: EventData, run: str = RUN) -> dict[str, Any]:
    at = datetime(2026, 12, 1, tzinfo=UTC)
    return Event(data=data, run_id=run, project="shop", attempt=1, revision=7, time=at).to_cloudevent()


PROMOTED = ModelPromoted(
    endpoint="shop", deployment="d-1", model="shop:1", scoring_uri="https://x/", candidate=RESULT.candidate,
    gains=RESULT.gains,
)  # fmt: skip
# The four that must arrive everywhere, and the number or code that decided each.
FACTS: dict[str, tuple[EventData, tuple[str, ...]]] = {
    "promotion": (PROMOTED, ("0.900", "+0.800, from +0.700 to +0.900", "shop:1")),
    "rejection": (
        ValidationFailed(codes=("too_few_rows", "recipe_value"), errors=3, report="/api/r"),
        ("too_few_rows, recipe_value (3 errors)",),
    ),
    "approval request": (
        ApprovalRequested.of(RESULT, VERDICT),
        ("0.900, base model 0.100", "+0.800, from +0.700"),
    ),
    "failure": (
        RunFailed(failure_class=FailureClass.QUOTA, problem=Problem(code="no_quota", message="no cores")),
        ("no_quota: no cores",),
    ),
    "rollback": (
        ModelRolledBack(endpoint="shop", traffic={"d-0": 100}, reason=Problem(code="slow", message="2 s"), by="ada"),
        ("slow: 2 s", "ada"),
    ),
    "declined by the gate": (EvaluationFailed.of(RESULT, FAILED_CHECK), ("min_score: 0.900 < 0.950",)),
}


def sent(data: EventData, type: str, **fields: Any) -> tuple[str, dict[str, str], Any]:
    url, headers, body = request_of(subscription("https://hooks.example/x?y=z", type, **fields), event(data), APP)
    return url, headers, json.loads(body)


def read(headers: dict[str, str], body: bytes) -> dict[str, Any]:
    """As the SDK of CloudEvents reads it, in whichever mode."""
    found = from_http_event(HTTPMessage(headers, body))
    attributes = {key: value for key, value in found.get_attributes().items() if value is not None}
    return {**attributes, "time": attributes["time"].isoformat(), "data": found.get_data()}


def card_problems(*cards: dict[str, Any]) -> list[str]:
    """What Microsoft's own library says of cards."""
    if not CARDS.is_file():
        pytest.skip("the library of Adaptive Cards is not installed: make emulators")
    done = subprocess.run(
        ["node", "-e", PARSE, str(CARDS)], input=json.dumps(cards), text=True, capture_output=True, check=True
    )
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", FACTS)
def test_a_webhook_gets_a_cloudevent_in_structured_mode(name: str) -> None:
    data, _ = FACTS[name]
    url, headers, body = request_of(subscription("https://hooks.example/x?y=z"), event(data), APP)
    assert url == "https://hooks.example/x?y=z"
    assert headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    jsonschema.Draft202012Validator(schema_of(data.wire_type)).validate(json.loads(body))
    assert read(headers, body) == json.loads(body) == event(data)


@pytest.mark.parametrize("name", FACTS)
def test_a_webhook_gets_the_same_cloudevent_in_binary_mode(name: str) -> None:
    sent_event = event(FACTS[name][0])
    _, headers, body = request_of(subscription(mode="binary"), sent_event, APP)
    # The binding has no types: integers are text there.
    texts = {key: str(value) if isinstance(value, int) else value for key, value in sent_event.items()}
    assert read(headers, body) == texts
    assert "ce-datacontenttype" not in headers
    assert json.loads(body) == sent_event["data"]


def test_an_attribute_that_a_header_cannot_have_is_encoded_as_the_binding_says() -> None:
    """The examples of the HTTP binding 1.0.2, 3.1.3.2."""
    odd = {**event(PROMOTED), "subject": 'Euro € 😀 "a" 100%'}
    _, headers, _ = request_of(subscription(mode="binary"), odd, APP)
    assert headers["ce-subject"] == "Euro%20%E2%82%AC%20%F0%9F%98%80%20%22a%22%20100%25"


@pytest.mark.parametrize("name", FACTS)
def test_event_grid_gets_what_its_data_plane_takes(name: str) -> None:
    """A batch of CloudEvents (Event Grid data plane, "Publish Cloud Event Events", api-version 2018-01-01)."""
    topic = "https://t.westeurope-1.eventgrid.azure.net/api/events"
    url, headers, body = request_of(subscription(topic, "event_grid"), event(FACTS[name][0]), APP)
    assert url == f"{topic}?api-version=2018-01-01"
    assert headers["content-type"] == "application/cloudevents-batch+json; charset=utf-8"
    [one] = json.loads(body)
    # Event Grid docs, "CloudEvents v1.0 schema": names of extensions are of 1 to 20 small letters and digits.
    assert all(key.isalnum() and key == key.lower() and len(key) <= 20 for key in one)
    assert read({"content-type": "application/cloudevents+json"}, json.dumps(one).encode()) == event(FACTS[name][0])


@pytest.mark.parametrize("name", FACTS)
def test_teams_gets_an_adaptive_card_with_the_deciding_number_and_a_link(name: str) -> None:
    data, numbers = FACTS[name]
    _, headers, body = sent(data, "teams")
    assert headers["content-type"] == "application/json"
    # Microsoft Learn, "Create incoming webhooks with Workflows": a message with one attachment of this type.
    assert body["type"] == "message"
    [attachment] = body["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert card_problems(card) == []
    text = json.dumps(card)
    assert all(number in text for number in numbers), text
    assert card["actions"] == [{"type": "Action.OpenUrl", "title": "Open", "url": f"{APP}/#/runs/{RUN}"}]
    assert card["body"][0]["text"].startswith("shop: ")


def require_blocks(blocks: list[dict[str, Any]]) -> None:
    """Raises SlackObjectFormationError of Slack's SDK for what Slack would refuse."""
    parsed = [Block.parse(block) for block in blocks]
    assert all(type(block) is not Block and block is not None for block in parsed)
    for block in parsed:
        assert block is not None
        block.validate_json()


@pytest.mark.parametrize("name", FACTS)
def test_slack_gets_blocks_with_the_deciding_number_and_a_link(name: str) -> None:
    data, numbers = FACTS[name]
    _, _, body = sent(data, "slack")
    require_blocks(body["blocks"])
    assert [block["type"] for block in body["blocks"]] == ["header", "section", "section", "context"]
    text = json.dumps(body, ensure_ascii=False).replace("&lt;", "<")
    assert all(number in text for number in numbers), text
    assert body["blocks"][-1]["elements"][0]["text"] == f"<{APP}/#/runs/{RUN}|Open>"
    assert body["text"].startswith("shop: ")


def test_every_event_has_a_message_that_both_take() -> None:
    events = [example(schemas()[wire_type]) for wire_type in EVENT_TYPES]
    for one in events:
        _, _, body = request_of(subscription(type="slack"), one, "")
        require_blocks(json.loads(body)["blocks"])
    bodies = [json.loads(request_of(subscription(type="teams"), one, APP)[2]) for one in events]
    assert card_problems(*(body["attachments"][0]["content"] for body in bodies)) == []


def test_the_validators_see_what_is_wrong() -> None:
    with pytest.raises(SlackObjectFormationError):
        require_blocks([{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}])
    wrong = {"type": "AdaptiveCard", "version": "1.4", "body": [{"type": "TextBlock", "text": "a", "color": "Red"}]}
    assert card_problems(wrong) == ['Invalid value "Red" for property "color".']


def test_texts_of_others_make_no_link_and_no_mention_and_fit() -> None:
    hostile = "<!channel> [click](https://evil.example) & <https://evil.example|here>" + "x" * 5000
    data = RunFailed(failure_class=FailureClass.CODE, problem=Problem(code="boom", message=hostile))
    _, _, body = sent(data, "slack")
    assert "<!channel>" not in json.dumps(body)
    assert "<https://evil" not in json.dumps(body)
    assert max(len(field["text"]) for field in body["blocks"][2]["fields"]) < 2000
    _, _, body = sent(data, "teams")
    assert "](" not in json.dumps(body)


def test_what_is_no_event_of_ours_has_a_message_too() -> None:
    foreign = {"specversion": "1.0", "id": "1", "type": "x.y", "source": "/elsewhere", "data": [1]}
    message = notice_of(foreign, "")
    assert (message.title, message.link) == ("/elsewhere: x y", "")
