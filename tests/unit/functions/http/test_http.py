"""What /api/openapi.json says of the routes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from functions.http import create_api
from functions.http.auth import EntraAuth
from shared.ports import Services
from tests.unit.functions.http.support import routes

# Everything but these needs a token.
OPEN = {"/api/health", "/api/ready", "/api/events/asyncapi.json", "/api/events/schemas/{type}"}


def no_services() -> Services:
    raise AssertionError("nobody has proved to be allowed to make the app build its services")


def no_keys(token: str) -> Any:
    raise AssertionError("there was a token")


API = create_api(no_services, lambda: EntraAuth("https://login.example/t/v2.0", "api://droptune", no_keys))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return API.openapi()


@pytest.fixture(params=routes(API))
def route(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Method and path."""
    method, path = request.param.split(" ")
    return method, path


@pytest.fixture
def operation(document: dict[str, Any], route: tuple[str, str]) -> dict[str, Any]:
    method, path = route
    return dict(document["paths"][path][method.lower()])


def test_the_document_describes_every_route(document: dict[str, Any]) -> None:
    described = [f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods]
    assert sorted(described) == sorted(routes(API))


def test_the_document_says_which_routes_take_a_bearer_token(operation: dict[str, Any], route: tuple[str, str]) -> None:
    assert operation.get("security") == (None if route[1] in OPEN else [{"HTTPBearer": []}])


def test_every_success_answer_has_a_schema(operation: dict[str, Any], document: dict[str, Any]) -> None:
    [success] = [answer for code, answer in operation["responses"].items() if code.startswith("2")]
    [(media_type, content)] = success["content"].items()
    if media_type == "application/json":
        name = content["schema"]["$ref"].rsplit("/", 1)[1]
        assert document["components"]["schemas"][name].keys() & {"properties", "additionalProperties"}
    else:
        assert content["schema"] == {"type": "string", "format": "binary"}


def test_every_error_answer_has_the_same_schema(operation: dict[str, Any]) -> None:
    for code in ("4XX", "5XX"):
        schema = operation["responses"][code]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ErrorAnswer"}
    assert "422" not in operation["responses"], "a request that is not valid is answered with 400"


@pytest.mark.few_cases(3)
def test_a_caller_without_a_role_is_refused_before_a_service_is_built(route: tuple[str, str]) -> None:
    method, path = route
    with TestClient(API) as client:
        answer = client.request(method, path.format_map(defaultdict(lambda: "droptune.run.failed.v1")))
    if path in OPEN:
        assert answer.status_code == (503 if path == "/api/ready" else 200)  # no services
    else:
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "no_token")


def test_a_run_is_in_the_document_and_no_two_models_share_a_name(document: dict[str, Any]) -> None:
    names = document["components"]["schemas"]
    assert {"Run", "Report", "Metrics", "EndpointRecord", "FineTuningJob"} <= set(names)
    assert [name for name in names if "__" in name or name.endswith(("-Input", "-Output"))] == []


def texts_of(schema: dict[str, Any], document: dict[str, Any], name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Paths and schemas of all texts in it."""
    if "$ref" in schema:
        yield from texts_of(document["components"]["schemas"][schema["$ref"].split("/")[-1]], document, name)
    for choice in schema.get("anyOf", ()):
        yield from texts_of(choice, document, name)
    if schema.get("type") == "string":
        yield name, schema
    inner = {**schema.get("properties", {}), "*": schema.get("additionalProperties"), "[]": schema.get("items")}
    for key, value in inner.items():
        if isinstance(value, dict):
            yield from texts_of(value, document, f"{name}.{key}".lstrip("."))


def json_bodies(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    operations = {
        f"{method.upper()} {path}": operation.get("requestBody", {}).get("content", {})
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    bodies = {route: content.get("application/json") for route, content in operations.items()}
    return {route: body["schema"] for route, body in bodies.items() if body}


def test_every_text_of_a_request_has_a_limit(document: dict[str, Any]) -> None:
    bounds = {"maxLength", "enum", "const", "pattern"}
    for schema in json_bodies(document).values():
        texts = dict(texts_of(schema, document))
        assert [name for name, text in texts.items() if not bounds & text.keys()] == []


@pytest.mark.ci
def test_a_text_beyond_its_limit_is_refused_by_name(client: TestClient, document: dict[str, Any]) -> None:
    for route, schema in json_bodies(document).items():
        method, path = route.replace("{", "").replace("}", "").split(" ")
        limits = {name: text["maxLength"] for name, text in texts_of(schema, document) if "maxLength" in text}
        limits = {name: limit for name, limit in limits.items() if not set(".*[") & set(name)}
        others: dict[str, Any] = dict.fromkeys(limits, "x") | ({"graders": [{}]} if "graders" in path else {})
        for name, limit in limits.items():
            for length in (limit + 1, 900_000):
                answer = client.request(method, path, json={**others, name: "x" * length})
                assert (route, answer.status_code, answer.json()["error"]["param"]) == (route, 400, name)
                assert f"at most {limit}" in answer.json()["error"]["message"]
