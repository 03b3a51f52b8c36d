"""Bodies against type definitions in the form of Azure/bicep-types-az: a list of types that refer to each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.gate import bicep, types

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


def violations(tmp_path: Path, properties: str, version: str = "2024-01-01") -> list[str]:
    folder = tmp_path / "types" / "generated" / "test" / "microsoft.test" / "2024-01-01"
    folder.mkdir(parents=True)
    (folder / "types.json").write_text(json.dumps(TYPES))
    (tmp_path / "infra").mkdir()
    (tmp_path / "infra" / "main.bicep").write_text(
        f"param p string\nresource a 'Microsoft.Test/things@{version}' = {{\n"
        f"  name: 'a'\n  tags: {{\n    x: 'y'\n  }}\n  properties: {{\n{properties}\n  }}\n}}\n"
    )
    infra = bicep.read(tmp_path / "infra")
    return [finding.message for finding in types.findings(infra, tmp_path / "types")]


def test_a_body_that_fits_its_type_is_no_finding(tmp_path: Path) -> None:
    fits = "tier: 'Hot'\nsecure: true\nnames: ['a', p]\nbackup: {\n  type: 'Continuous'\n  days: 7\n}"
    assert violations(tmp_path, fits) == []


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ("tier: 'Warm'", "a.properties.tier is 'Warm', known are Hot, Cool"),
        ("secure: true", "a.properties.tier is missing"),
        ("tier: 'Hot'\nsecured: true", "a.properties.secured is unknown"),
        ("tier: 'Hot'\nsecure: 'true'", "a.properties.secure must be true or false, is 'true'"),
        ("tier: 'Hot'\nstate: 'x'", "a.properties.state is read-only"),
        ("tier: 'Hot'\nnames: 'a'", "a.properties.names must be an array"),
        ("tier: 'Hot'\nnames: ['a', 1]", "a.properties.names[1] must be text, is 1"),
        ("tier: 'Hot'\nbackup: {\n  type: 'Never'\n}", "a.properties.backup.type is 'Never', known are Continuous"),
        (
            "tier: 'Hot'\nbackup: {\n  type: 'Continuous'\n  days: '7'\n}",
            "a.properties.backup.days must be a whole number, is '7'",
        ),
    ],
)
def test_what_does_not_fit_is_a_finding(tmp_path: Path, properties: str, message: str) -> None:
    assert violations(tmp_path, properties) == [message]


def test_a_version_that_was_never_published_is_a_finding(tmp_path: Path) -> None:
    assert violations(tmp_path, "tier: 'Hot'", version="2031-01-01") == [
        "Microsoft.Test/things@2031-01-01 is not published"
    ]
