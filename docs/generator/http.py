"""`http.md`: the routes of the API."""

import inspect
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from fastapi.routing import APIRoute

from docs.generator import markdown
from docs.generator.schema import range_of, type_of
from functions.http import create_api
from shared.services import services

API = create_api(services)


def page() -> str:
    roles = dict(_roles(API.routes))
    groups: dict[str, list[tuple[str, str, str, str]]] = defaultdict(list)
    for path, methods in API.openapi()["paths"].items():
        for method, operation in methods.items():
            group = (operation.get("tags") or ["other"])[0]
            groups[group].append(_row(method.upper(), path, operation, roles))
    return markdown.page("http.md", groups=groups)


def _row(method: str, path: str, operation: dict[str, Any], roles: dict[str, str]) -> tuple[str, str, str, str]:
    query = [_parameter(one) for one in operation.get("parameters", ()) if one["in"] == "query"]
    body = list(_body(operation))
    if body:
        query.append("body: " + ", ".join(body))
    summary = markdown.first_line(operation.get("description")) or operation["summary"]
    return f"`{method} {path}`", roles[f"{method} {path}"], ", ".join(query), summary


def _parameter(one: dict[str, Any]) -> str:
    bounds = range_of(one["schema"])
    return f"`{one['name']}`" + (f" ({bounds})" if bounds else "")


def _body(operation: dict[str, Any]) -> Iterator[str]:
    """The fields of a JSON body with their types."""
    definitions = API.openapi()["components"]["schemas"]
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    for option in [schema, *schema.get("anyOf", ())]:
        found = definitions.get(str(option.get("$ref", "")).rsplit("/", 1)[-1], {})
        for name, field in found.get("properties", {}).items():
            yield f"`{name}` ({type_of(field, definitions)})"


def _roles(routes: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The app role that each route's dependency `may(role)` asks for. FastAPI keeps included routers as they are."""
    for route in routes:
        if isinstance(route, APIRoute):
            path = prefix + re.sub(r":path\b", "", route.path)
            yield from ((f"{method} {path}", _role(route)) for method in route.methods or ())
        elif hasattr(route, "original_router"):
            yield from _roles(route.original_router.routes, prefix + route.include_context.prefix)


def _role(route: APIRoute) -> str:
    for dependency in route.dependant.dependencies:
        assert dependency.call is not None
        role = inspect.getclosurevars(dependency.call).nonlocals.get("role")
        if role:
            return str(role)
    return "none"
