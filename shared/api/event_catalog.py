"""The events as others read them: a JSON Schema of each type, and all of them as an AsyncAPI 3 document."""

import json
import re
from functools import cache
from typing import Any

from pydantic.json_schema import models_json_schema

from shared.domain.events import EVENT_TYPES, EventData
from shared.domain.upgrades import SCHEMA_VERSION

Schema = dict[str, Any]
PREFIX = "#/components/schemas/"
TEXT = {"type": "string"}
# What a field of that name may hold, where its type says little.
EXAMPLES: dict[str, Any] = {
    "id": "run-3fa1b2c4d5e6.model.promoted.14",
    "source": "/projects/machine-errors",
    "subject": "run-3fa1b2c4d5e6",
    "runid": "run-3fa1b2c4d5e6",
    "path": "datasets/machine-errors/2026-11.jsonl",
    "by": "ada@example.org",
    "endpoint": "machine-errors",
    "deployment": "d-3fa1b2c4d5e6",
    "model": "machine-errors:1",
    "scoring_uri": "https://machine-errors.westeurope.inference.ml.azure.com/",
    "report": "/api/runs/run-3fa1b2c4d5e6/report",
    "traffic": {"d-3fa1b2c4d5e6": 100},
    "status": "training",
    "stage": "submit_training",
    "code": "gpu_out_of_memory",
}


@cache
def schemas() -> dict[str, Schema]:
    """Name -> JSON Schema of all events' envelopes, by wire type, and of what is in their data, by class.

    Fields may come in a later version, so none is forbidden; no field goes or changes its type.
    """
    kinds = list(EVENT_TYPES.values())
    _, found = models_json_schema([(cls, "serialization") for cls in kinds], ref_template=PREFIX + "{model}")
    parts = json.loads(json.dumps(found["$defs"]), object_hook=_open)
    return {**{cls.wire_type: _envelope(cls) for cls in kinds}, **parts}


def _open(schema: Schema) -> Schema:
    return {key: each for key, each in schema.items() if (key, each) != ("additionalProperties", False)}


def schema_of(wire_type: str) -> Schema:
    """One event's, by itself. Raises KeyError for a type that no event has."""
    texts = {name: json.dumps(schema) for name, schema in schemas().items()}
    names = [EVENT_TYPES[wire_type].wire_type]
    for name in names:  # which grows
        names += dict.fromkeys(one for one in re.findall(f'"{PREFIX}([^"]+)"', texts[name]) if one not in names)
    own, *parts = (json.loads(texts[name].replace(PREFIX, "#/$defs/")) for name in names)
    defs = dict(zip(names[1:], parts, strict=True))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **own, "$defs": defs}


def asyncapi(version: str) -> dict[str, Any]:
    """All events: those of the topic, and those that subscriptions get beside them."""
    whole = schemas()
    messages = {
        cls.short_type(): {
            "name": cls.wire_type,
            "title": cls.short_type(),
            "summary": " ".join((cls.__doc__ or "").split()),
            "tags": [{"name": cls.severity.value}],
            "contentType": "application/cloudevents+json",
            "payload": {"$ref": PREFIX + cls.wire_type},
            "examples": [{"payload": example(whole[cls.wire_type])}],
        }
        for cls in EVENT_TYPES.values()
    }
    of_channel = {name: {"$ref": f"#/components/messages/{name}"} for name in messages}
    channels = {
        name: {"address": address, "description": description, "messages": of_channel}
        for name, address, description in (
            ("pipeline", "pipeline", "Topic of the Service Bus namespace."),
            ("subscription", None, "The target of a subscription of a project or of all."),
        )
    }
    return {
        "asyncapi": "3.1.0",
        "info": {"title": "Droptune events", "version": version, "description": "CloudEvents 1.0, structured JSON."},
        "defaultContentType": "application/cloudevents+json",
        "channels": channels,
        "operations": {
            f"send-to-{name}": {"action": "send", "channel": {"$ref": f"#/channels/{name}"}} for name in channels
        },
        "components": {"messages": messages, "schemas": whole},
    }


def example(schema: Schema, name: str = "") -> Any:
    """A value of the schema, the shortest that shows each field."""
    if "$ref" in schema:
        return example(schemas()[schema["$ref"].removeprefix(PREFIX)], name)
    if "const" in schema or "enum" in schema:
        return schema.get("const", *schema.get("enum", [])[:1])
    if options := schema.get("anyOf"):
        return example(options[0], name)
    if name in EXAMPLES:
        return EXAMPLES[name]
    match schema["type"]:
        case "object":
            return {key: example(of, key) for key, of in schema.get("properties", {}).items()}
        case "array":
            return [example(schema["items"], name)]
        case "string":
            return "2026-11-28T22:09:31Z" if schema.get("format") == "date-time" else f"the {name}"
        case kind:
            return {"integer": 1, "number": 0.5, "boolean": True}[kind]


def _envelope(cls: type[EventData]) -> Schema:
    about = "run" if cls.about_run else "subscription"
    of_run: dict[str, Schema] = {
        "runid": {**TEXT, "description": "the run's id"},
        "attempt": {"type": "integer", "description": "within the stage"},
        "revision": {"type": "integer", "description": "changes of the run so far"},
    }
    own: dict[str, Schema] = {
        "specversion": {"const": "1.0"},
        "id": {**TEXT, "description": "the same when the event is sent again"},
        "type": {"const": cls.wire_type},
        "source": {**TEXT, "pattern": "^/projects/"},
        "subject": {**TEXT, "description": f"the {about}'s id"},
        "time": {**TEXT, "format": "date-time"},
        "datacontenttype": {"const": "application/json"},
        "schemaversion": {"type": "integer", "minimum": SCHEMA_VERSION},
        "severity": {"const": cls.severity.value},
        **(of_run if cls.about_run else {}),
        "data": {"$ref": PREFIX + cls.__name__},
    }
    return {"title": cls.short_type(), "type": "object", "properties": own, "required": list(own)}
