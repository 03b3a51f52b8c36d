"""An event as each kind of target takes it: URL, headers and body of the request. Nothing is sent here."""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import orjson
from standardwebhooks import Webhook as Signer

from shared.domain.errors import shortened
from shared.domain.events import EVENT_TYPES, EventData, Severity
from shared.domain.subscriptions import EventGrid, Slack, Subscription, Teams, Webhook

Request = tuple[str, dict[str, str], bytes]

# Event Grid data plane, "Publish Cloud Event Events": the version of its REST API.
EVENT_GRID_VERSION = "2018-01-01"
# CloudEvents HTTP binding 1.0.2, 3.1.3.2: a header has printable ASCII as it is, but for blank, quote and percent.
_AS_IT_IS = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_COLORS = {Severity.INFO: "Good", Severity.WARNING: "Warning", Severity.ERROR: "Attention"}
MAX_FACTS, MAX_TITLE, MAX_VALUE = 10, 150, 500  # Slack: fields of a section, characters of a header


def request_of(subscription: Subscription, event: dict[str, Any], app_url: str) -> Request:
    target = subscription.target
    url, headers = urlsplit(target.url), {"content-type": "application/json"}
    if url.username is not None:
        user = f"{unquote(url.username)}:{unquote(url.password or '')}"
        headers["authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    match target:
        case Webhook():
            own, body = _binary(event) if target.mode == "binary" else _structured(event)
            return target.url, headers | own | _signature(subscription, event, body), body
        case EventGrid():
            query = urlencode(dict(parse_qsl(url.query)) | {"api-version": EVENT_GRID_VERSION})
            headers["content-type"] = "application/cloudevents-batch+json; charset=utf-8"
            return url._replace(query=query).geturl(), headers, orjson.dumps([event])
        case Teams():
            return target.url, headers, orjson.dumps(_teams(notice_of(event, app_url)))
        case Slack():
            return target.url, headers, orjson.dumps(_slack(notice_of(event, app_url)))


def _structured(event: dict[str, Any]) -> tuple[dict[str, str], bytes]:
    return {"content-type": "application/cloudevents+json; charset=utf-8"}, orjson.dumps(event)


def _binary(event: dict[str, Any]) -> tuple[dict[str, str], bytes]:
    attributes = {key: value for key, value in event.items() if key not in ("data", "datacontenttype")}
    headers = {f"ce-{key}": quote(str(value), safe=_AS_IT_IS) for key, value in attributes.items()}
    headers["content-type"] = str(event.get("datacontenttype", "application/json"))
    return headers, orjson.dumps(event.get("data"))


def _signature(subscription: Subscription, event: dict[str, Any], body: bytes) -> dict[str, str]:
    """By each key, so that a receiver may know either (Standard Webhooks)."""
    now, id = datetime.now(UTC), f"{event['id']}@{subscription.id}"
    signed = " ".join(Signer(key).sign(id, now, body.decode()) for key in subscription.keys)
    return {"webhook-id": id, "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signed}


@dataclass(frozen=True, slots=True)
class Notice:
    """What a person reads of an event. `link` leads to the run, and is empty where nobody said where the app is."""

    title: str
    text: str
    severity: Severity
    facts: tuple[tuple[str, str], ...]
    link: str


def notice_of(event: dict[str, Any], app_url: str) -> Notice:
    """What happened, the numbers that decided it, and where to look."""
    cls = EVENT_TYPES.get(str(event["type"]), EventData)
    data = found if isinstance(found := event.get("data"), dict) else {}
    project, name = str(event["source"]).removeprefix("/projects/"), cls.short_type() or str(event["type"])
    subject, run = str(event.get("subject", "")), event.get("runid")
    facts = [("Run" if run else "Subscription", subject), *_facts(data)]
    page = f"runs/{quote(str(run), safe='')}" if run else ""
    return Notice(
        title=shortened(f"{project}: {re.sub('[._]', ' ', name)}", MAX_TITLE),
        text=" ".join((cls.__doc__ or "").split()),
        severity=cls.severity,
        facts=tuple((name, shortened(value, MAX_VALUE)) for name, value in facts[:MAX_FACTS]),
        link=f"{app_url}/#/{page}" if app_url else "",
    )


_SHOWN = (
    "endpoint",
    "model",
    "deployment",
    "by",
    "comment",
    "deadline_at",
    "until",
    "budget",
    "subscription",
    "target",
)


def _facts(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The deciding ones first."""
    if isinstance(score := data.get("candidate"), dict):  # of a decision it is a hash
        base = f", base model {data['base']['mean']:.3f}" if data.get("base") else ""
        yield "Score", f"{score['mean']:.3f}{base}"
    for gain in data.get("gains", ()):
        yield f"Gain over {gain['over']}", f"{gain['mean']:+.3f}, from {gain['low']:+.3f} to {gain['high']:+.3f}"
    for check in data.get("failed", ())[:2]:
        yield "Failed check", f"{check['name']}: {check['detail']}"
    for name in ("problem", "reason"):
        if isinstance(problem := data.get(name), dict):
            yield "Code", f"{problem['code']}: {problem['message']}"
        elif problem:
            yield "Reason", str(problem)
    if codes := data.get("codes"):
        yield "Codes", f"{', '.join(codes)} ({data['errors']} errors)"
    if "taken_usd" in data:
        yield "Taken", f"{data['taken_usd']:.2f} of {data['limit_usd']:.2f} USD"
    yield from ((name.removesuffix("_at").capitalize(), str(data[name])) for name in _SHOWN if data.get(name))


def _plain(text: str) -> str:
    """Texts of people and jobs make no link of their own: the Markdown of cards has `[text](address)`."""
    return text.replace("](", "] (")


def _teams(notice: Notice) -> dict[str, Any]:
    """Adaptive Card 1.4, which Teams shows everywhere (Microsoft Learn, "Adaptive Cards": 1.5 on the desktop)."""
    title = {"weight": "Bolder", "size": "Medium", "color": _COLORS[notice.severity]}
    facts = [{"title": name, "value": _plain(value)} for name, value in notice.facts]
    body: list[dict[str, Any]] = [
        {"type": "TextBlock", "text": _plain(notice.title), "wrap": True, **title},
        {"type": "TextBlock", "text": notice.text, "wrap": True},
        {"type": "FactSet", "facts": facts},
    ]
    schema = "http://adaptivecards.io/schemas/adaptive-card.json"
    card: dict[str, Any] = {"$schema": schema, "type": "AdaptiveCard", "version": "1.4", "body": body}
    if notice.link:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Open", "url": notice.link}]
    content = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [content]}


def _slack(notice: Notice) -> dict[str, Any]:
    # Slack, "Formatting text for app surfaces": these three are its control characters.
    def escaped(text: str) -> str:
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    fields = [{"type": "mrkdwn", "text": f"*{escaped(name)}*\n{escaped(value)}"} for name, value in notice.facts]
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": notice.title}},
        {"type": "section", "text": {"type": "mrkdwn", "text": escaped(notice.text)}},
        {"type": "section", "fields": fields},
    ]
    if notice.link:
        link = {"type": "mrkdwn", "text": f"<{notice.link}|Open>"}
        blocks.append({"type": "context", "elements": [link]})
    return {"text": escaped(f"{notice.title}. {notice.text}"), "blocks": blocks}
