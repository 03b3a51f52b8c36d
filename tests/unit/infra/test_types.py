"""Bodies against definitions from the models of a package, in each of their two forms."""

from __future__ import annotations

import json
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import pytest

from local_stack.azure_ml import published
from tests.gate import bicep
from tests.gate.__main__ import REQUESTS
from tests.gate.types import requests
from tests.published_types import Source, write

THING = "Microsoft.Test/things@2024-01-01"
MSREST = '''
from enum import Enum
from typing import Literal, Optional
from msrest.serialization import Model

class Tier(str, Enum):
    HOT = "Hot"
    COOL = "Cool"

class Thing(Model):
    """A thing.

    :ivar name: Its name.
    :vartype name: str
    :ivar tier: Known values are: "Hot" and
     "Cool".
    :vartype tier: str or
     ~azure.mgmt.old.models.Tier
    :ivar names: Names.
    :vartype names: list[str]
    """
    _validation = {"name": {"readonly": True}, "tier": {"required": True}, "state": {"readonly": True}}
    _attribute_map = {
        "name": {"key": "name", "type": "str"},
        "tags": {"key": "tags", "type": "{str}"},
        "tier": {"key": "properties.tier", "type": "str"},
        "secure": {"key": "properties.secure", "type": "bool"},
        "state": {"key": "properties.state", "type": "str"},
        "names": {"key": "properties.names", "type": "[str]"},
        "action": {"key": "properties.action", "type": "str"},
        "key": {"key": "properties.key", "type": "str"},
        "backup": {"key": "properties.backup", "type": "Backup"},
    }

    def __init__(self, *, action: Optional[Literal["Allow"]] = None) -> None: ...

class Backup(Model):
    _validation = {"type": {"required": True}}
    _attribute_map = {"type": {"key": "type", "type": "str"}}
    _subtype_map = {"type": {"Continuous": "Continuous"}}

class Continuous(Backup):
    _validation = {"type": {"required": True}, "days": {"maximum": 30}}
    _attribute_map = {"type": {"key": "type", "type": "str"}, "days": {"key": "days", "type": "int"}}
'''
REST_FIELD = """
import sys
from enum import Enum
from typing import Literal, Optional, Union
from .._utils.model_base import Model as _Model, rest_discriminator, rest_field

class Tier(str, Enum):
    HOT = "Hot"
    COOL = "Cool"

class Thing(_Model):
    name: str = rest_field(visibility=["read"])
    tags: Optional[dict[str, str]] = rest_field()
    properties: "_models.Properties" = rest_field(visibility=["read", "create"])

class Properties(_Model):
    tier: Union[str, "_models.Tier"] = rest_field(visibility=["read", "create"])
    is_secure: Optional[bool] = rest_field(name="secure", visibility=["read", "create"])
    state: str = rest_field(visibility=["read"])
    names: Optional[list[str]] = rest_field()
    action: Optional[Literal["Allow"]] = rest_field()
    key: Optional[str] = rest_field(visibility=["create"])
    backup: Optional["_models.Backup"] = rest_field()

class Backup(_Model):
    __mapping__: dict[str, _Model] = {}
    kind: str = rest_discriminator(name="type", visibility=["read", "create"])

class Continuous(Backup, discriminator="Continuous"):
    kind: Literal["Continuous"] = rest_discriminator(name="type", visibility=["read", "create"])
    days: Optional[int] = rest_field()
"""
MODEL_BASE = "azure/ai/ml/_restclient/arm_ml_service/_utils/model_base.py"
CLASSES = {"Microsoft.Test/things": "Thing"}
FORMS = {"msrest": MSREST, "rest_field": REST_FIELD}


def written(form: str, folder: Path, version: str = "2024-01-01") -> Path:
    """What is written of a wheel with such models of a version."""
    package = f"azure-mgmt-{form.replace('_', '')}==1.0.0"
    source = Source(package, version, "azure/mgmt/any", "models", CLASSES, used_for="2024-01-01")
    with ZipFile(folder / f"{source.package.replace('-', '_').replace('==', '-')}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("azure/mgmt/any/models/__init__.py", FORMS[form])
        wheel.writestr("azure/mgmt/any/_utils/__init__.py", "")
        wheel.write(str(distribution("azure-ai-ml").locate_file(MODEL_BASE)), "azure/mgmt/any/_utils/model_base.py")
        wheel.writestr("azure_mgmt_any-1.0.0.dist-info/METADATA", "Name: any\nLicense: MIT License\n")
        wheel.writestr("azure_mgmt_any-1.0.0.dist-info/LICENSE", "Copyright (c)\n\nPermission is granted\n")
    write(folder, [THING], folder / "excerpt.json", [source])
    return folder / "excerpt.json"


@pytest.fixture(scope="module", params=FORMS)
def excerpt(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(request.param, tmp_path_factory.mktemp(request.param))


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
        ("tier: 'Hot'\naction: 'Deny'", "properties.action 'Deny' is not one of ['Allow']"),
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


def test_a_name_and_what_holds_a_required_property_are_required(excerpt: Path) -> None:
    assert list(published.problems(THING, {"properties": {"tier": "Hot"}}, file=excerpt)) == [
        "'name' is a required property"
    ]
    assert list(published.problems(THING, {"name": "a"}, file=excerpt)) == ["'properties' is a required property"]


def test_a_limit_that_a_model_has_holds(tmp_path: Path) -> None:
    excerpt = written("msrest", tmp_path)
    found = violations(tmp_path, excerpt, "tier: 'Hot'\nbackup: {\n  type: 'Continuous'\n  days: 31\n}")
    assert found == ["properties.backup.days 31 is greater than the maximum of 30"]


def answered(excerpt: Path, **properties: object) -> list[str]:
    answer = {"name": "a", "properties": {"tier": "Hot", **properties}}
    return list(published.problems(THING, answer, answer=True, file=excerpt))


def test_an_answer_has_what_is_read_only(excerpt: Path) -> None:
    assert answered(excerpt, state="ready") == []
    assert answered(excerpt, state=1) == ["properties.state 1 is not of type 'string'"]


def test_an_answer_has_nothing_that_is_only_sent(tmp_path: Path) -> None:
    found = answered(written("rest_field", tmp_path), key="secret")
    assert found == ["properties.key is read-only, or never answered"]


def test_the_file_names_its_packages_and_the_version_that_stands_for_another(tmp_path: Path) -> None:
    content = json.loads(written("msrest", tmp_path, "2023-01-01").read_text())
    assert content["packages"] == {"azure-mgmt-msrest==1.0.0": "MIT License"}
    assert content["licenses"] == ["Copyright (c) Permission is granted"]
    assert content["compared_with"] == {THING: "2023-01-01"}
    assert json.loads(written("msrest", tmp_path).read_text())["compared_with"] == {}


def test_a_version_that_was_never_published_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="things@2031-01-01"):
        write(tmp_path, ["Microsoft.Test/things@2031-01-01"], tmp_path / "excerpt.json")


def test_a_body_of_the_client_that_does_not_fit_is_a_finding_of_its_file(tmp_path: Path) -> None:
    request = json.loads((REQUESTS / "training-phi-4.json").read_text())
    request["body"]["properties"]["limits"]["timeout"] = 43200
    (tmp_path / "training.json").write_text(json.dumps(request))
    (found,) = requests([tmp_path / "training.json"])
    assert (found.where, found.message) == ("training.json", "properties.limits.timeout 43200 is not of type 'string'")
