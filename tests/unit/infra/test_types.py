"""Bodies against type definitions that come in the form of Azure/bicep-types-az: types that refer to each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.gate import bicep, published
from infra.gate.__main__ import REQUESTS
from infra.gate.types import requests
from tests.published_types import write

TYPES = [
    {"$type": "StringType"},
    {"$type": "BooleanType"},
    {"$type": "IntegerType"},
    {"$type": "StringLiteralType", "value": "Hot"},
    {"$type": "StringLiteralType", "value": "Cool"},
    {"$type": "UnionType", "elements": [{"$ref": "#/3"}, {"$ref": "#/4"}, {"$ref": "#/0"}]},
    {"$type": "ArrayType", "itemType": {"$ref": "#/0"}},
    {"$type": "ObjectType", "name": "Tags", "properties": {}, "additionalProperties": {"$ref": "#/0"}},
    {
        "$type": "DiscriminatedObjectType",
        "name": "Backup",
        "discriminator": "type",
        "baseProperties": {},
        "elements": {"Continuous": {"$ref": "#/9"}},
    },
    {
        "$type": "ObjectType",
        "name": "Continuous",
        "properties": {"type": {"type": {"$ref": "#/0"}, "flags": 1}, "days": {"type": {"$ref": "#/2"}, "flags": 0}},
    },
    {
        "$type": "ObjectType",
        "name": "Properties",
        "properties": {
            "tier": {"type": {"$ref": "#/5"}, "flags": 1},
            "secure": {"type": {"$ref": "#/1"}, "flags": 0},
            "state": {"type": {"$ref": "#/0"}, "flags": 2},
            "names": {"type": {"$ref": "#/6"}, "flags": 0},
            "key": {"type": {"$ref": "#/0"}, "flags": 5},
            "backup": {"type": {"$ref": "#/8"}, "flags": 0},
        },
    },
    {
        "$type": "ObjectType",
        "name": "Microsoft.Test/things",
        "properties": {
            "apiVersion": {"type": {"$ref": "#/0"}, "flags": 10},
            "name": {"type": {"$ref": "#/0"}, "flags": 9},
            "tags": {"type": {"$ref": "#/7"}, "flags": 0},
            "properties": {"type": {"$ref": "#/10"}, "flags": 1},
        },
    },
    {"$type": "ResourceType", "name": "Microsoft.Test/things@2024-01-01", "body": {"$ref": "#/11"}},
]


THING = "Microsoft.Test/things@2024-01-01"


@pytest.fixture(scope="module")
def excerpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("types")
    folder = root / "generated" / "test" / "microsoft.test" / "2024-01-01"
    folder.mkdir(parents=True)
    (folder / "types.json").write_text(json.dumps(TYPES))
    write(root, "1f896de", [THING], root / "excerpt.json")
    return root / "excerpt.json"


def violations(tmp_path: Path, excerpt: Path, properties: str) -> list[str]:
    file = tmp_path / "main.bicep"
    file.write_text(
        "param p string\nresource a 'Microsoft.Test/things@2024-01-01' = {\n"
        f"  name: 'a'\n  tags: {{\n    x: 'y'\n  }}\n  properties: {{\n{properties}\n  }}\n}}\n"
    )
    (resource,) = bicep.parse(file, "main.bicep").resources
    return list(published.problems(THING, resource.body, file=excerpt))


def test_a_body_that_fits_its_type_is_no_finding(tmp_path: Path, excerpt: Path) -> None:
    fits = "tier: 'Hot'\nsecure: p == 'x'\nnames: ['a', p]\nbackup: {\n  type: 'Continuous'\n  days: 7\n}\nkey: null"
    assert violations(tmp_path, excerpt, fits) == []


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ("tier: 'Warm'", "properties.tier 'Warm' is not one of ['Hot', 'Cool']"),
        ("secure: true", "properties 'tier' is a required property"),
        (
            "tier: 'Hot'\nsecured: true",
            "properties Additional properties are not allowed ('secured' was unexpected)",
        ),
        ("tier: 'Hot'\nsecure: 'true'", "properties.secure 'true' is not of type 'boolean'"),
        ("tier: 'Hot'\nstate: 'x'", "properties.state is read-only, or never answered"),
        ("tier: 'Hot'\nnames: 'a'", "properties.names 'a' is not of type 'array'"),
        ("tier: 'Hot'\nnames: ['a', 1]", "properties.names[1] 1 is not of type 'string'"),
        ("tier: 'Hot'\nbackup: {\n  type: 'Never'\n}", "properties.backup type is 'Never', known are Continuous"),
        (
            "tier: 'Hot'\nbackup: {\n  type: 'Continuous'\n  days: '7'\n}",
            "properties.backup.days '7' is not of type 'integer'",
        ),
    ],
)
def test_what_does_not_fit_is_a_finding(tmp_path: Path, excerpt: Path, properties: str, message: str) -> None:
    assert violations(tmp_path, excerpt, properties) == [message]


def test_an_answer_has_what_is_read_only_and_not_what_is_secret(excerpt: Path) -> None:
    def of(**properties: object) -> list[str]:
        answer = {"name": "a", "properties": {"tier": "Hot", **properties}}
        return list(published.problems(THING, answer, answer=True, file=excerpt))

    assert of(state="ready") == []
    assert of(state=1) == ["properties.state 1 is not of type 'string'"]
    assert of(key="secret") == ["properties.key is read-only, or never answered"]


def test_a_version_that_was_never_published_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="things@2031-01-01"):
        write(tmp_path, "1f896de", ["Microsoft.Test/things@2031-01-01"], tmp_path / "excerpt.json")


def test_a_body_of_the_client_that_does_not_fit_is_a_finding_of_its_file(tmp_path: Path) -> None:
    request = json.loads((REQUESTS / "training-phi-4.json").read_text())
    request["body"]["properties"]["limits"]["timeout"] = 43200
    (tmp_path / "training.json").write_text(json.dumps(request))
    (found,) = requests([tmp_path / "training.json"])
    assert (found.where, found.message) == ("training.json", "properties.limits.timeout 43200 is not of type 'string'")
