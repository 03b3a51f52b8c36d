"""What is taken for a valid schema without the schema of schemas is one."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from shared.grading.errors import GradingFailed
from shared.grading.schema import Schema, is_ordinary
from tests.examples import examples

CHECKED = ["type", "properties", "required", "enum", "items", "anyOf", "minimum", "minLength", "description", "$ref"]
CHECKED += ["title", "additionalProperties", "pattern", "$defs", "not", "const", "default", "uniqueItems", "examples"]
OTHERS = ["x-note", "nullable", "if", "patternProperties", "dependentRequired", "$schema", "$id", "prefixItems"]
KEYS = st.sampled_from([*CHECKED, *OTHERS])
SCALARS = [None, True, 0, -1, 2, 1.5, "", "string", "#/$defs/a", "a b", "("]
LISTS = [[], ["string"], ["string", "string"], ["a", 1], ["string", "null"], ["a"]]
VALUES = st.sampled_from([*SCALARS, *LISTS, {}, {"a": 1}, {"a": {}}])
SCHEMAS = st.recursive(
    VALUES,
    lambda inner: st.dictionaries(KEYS, inner, max_size=4) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=12,
)
ORDINARY = {
    "type": "object",
    "description": "Find a part.",
    "properties": {
        "code": {"type": ["string", "null"], "minLength": 1, "pattern": "^[ab]$", "enum": ["a", "b"], "x-note": 7},
        "sizes": {"type": "array", "items": {"$ref": "#/$defs/size"}, "uniqueItems": True, "maxItems": 3},
        "other": {
            "anyOf": [{"type": "integer", "minimum": 0, "exclusiveMaximum": 9.5}, {"not": {"const": None}}, True]
        },
    },
    "$defs": {"size": {"type": "number", "default": 1}},
    "required": ["code"],
    "additionalProperties": False,
    "strict": True,
}


@examples(300)
@given(st.dictionaries(KEYS, SCHEMAS, max_size=4))
def test_what_is_taken_for_a_valid_schema_is_one(schema) -> None:
    if is_ordinary(schema):
        Draft202012Validator.check_schema(schema)


def test_schemas_as_tools_have_them_are_taken_at_once_and_hold_what_they_say() -> None:
    assert is_ordinary(ORDINARY)
    schema = Schema(ORDINARY)
    assert schema.holds({"code": "a", "sizes": [1, 2], "other": 3})
    assert not schema.holds({"code": "c"})


@pytest.mark.parametrize("bad", [{"type": "text"}, {"required": "a"}, {"enum": 1}, {"properties": {"a": {"type": 1}}}])
def test_an_invalid_schema_is_refused_with_its_place(bad) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Schema(bad)


JSON = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 1.0, 2.5, "", "1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)


@examples(200)
@given(st.lists(JSON, max_size=4), JSON)
def test_values_are_unique_and_of_an_enumeration_as_the_library_says(values, value) -> None:
    for schema, instance in (({"uniqueItems": True}, values), ({"enum": values}, value), ({"enum": [values]}, [value])):
        assert Schema(schema).holds(instance) == Draft202012Validator(schema).is_valid(instance)


@pytest.mark.parametrize(
    ("items", "make"),
    [
        ({"uniqueItems": True}, lambda n: {"x": n}),
        ({"items": {"enum": [f"v{n}" for n in range(30_000)]}}, "v{}".format),
    ],
    ids=["unique", "enum"],
)
def test_a_long_array_takes_time_in_proportion_to_its_length(items, make) -> None:
    schema = Schema({"type": "array", **items})
    assert schema.holds([make(number) for number in range(30_000)])
    assert not schema.holds([make(number) for number in (*range(30_000), "none", "none")])


def doubled(levels: int) -> dict[str, object]:
    """Each level refers to the next one twice."""
    below = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**below, f"d{levels}": {"type": "integer"}}}


def nested(levels: int, name: str, beside: dict[str, object]) -> dict[str, object]:
    schema: dict[str, object] = {"type": "integer"}
    for _ in range(levels):
        schema = {name: [schema], **beside}
    return schema


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(
    "schema",
    [
        doubled(40),
        nested(60, "anyOf", {"unevaluatedProperties": False}),
        nested(60, "oneOf", {"unevaluatedItems": False}),
    ],
    ids=["references", "unevaluated properties", "unevaluated items"],
)
@pytest.mark.parametrize("value", [1, {"a": 1}, [1]])
def test_a_schema_that_doubles_the_work_at_each_level_comes_to_an_end(schema, value) -> None:
    with suppress(GradingFailed):
        Schema(schema).holds(value)


def test_what_takes_too_long_is_said_and_what_refers_often_is_not() -> None:
    assert Schema(doubled(6)).holds(1)
    many = Schema({"items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"anyOf": [{"type": "integer"}]}}})
    assert many.holds([1] * 20_000)
    with pytest.raises(GradingFailed, match="the schema takes too long"):
        Schema(doubled(40)).holds(1)
