"""`recipe.md`: every key of `recipe.yaml`, and one example that names them all."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from docs.generator import markdown
from docs.generator.schema import keys_of
from shared.domain import graders
from shared.domain import recipe as model

METHODS: tuple[tuple[str, type[BaseModel], type[BaseModel]], ...] = (
    ("supervised", model.Supervised, model.Hyperparameters),
    ("dpo", model.Preference, model.PreferenceHyperparameters),
    ("reinforcement", model.Reinforcement, model.ReinforcementHyperparameters),
)
SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("data", model.Data),
    ("evaluation", model.Evaluation),
    ("evaluation.gate", model.Gate),
    ("deployment", model.Deployment),
    ("budget", model.Budget),
    ("notify[]", model.Notify),
    ("retrain", model.Retrain),
)

SOURCE = """\
def grade(sample, item):
    return 1.0 if len(sample["output_text"]) < 200 else 0.0
"""
# What the example sets; every other key stands there with its default.
EXAMPLE: dict[str, Any] = {
    "base_model": "microsoft/Phi-4",
    "use_case": "answers to questions about machine faults",
    "data.split_group": "machine",
    "evaluation.graders": [
        {"name": "exact", "type": "string_check", "operation": "eq", "reference": "{{item.answer}}", "weight": 3},
        {"name": "short", "type": "python", "source": SOURCE},
    ],
    "evaluation.slices": ["machine"],
    "deployment.endpoint": "machine-faults",
    "deployment.approval": "required",
    "notify": [{"subscription": "ops", "events": ["approval.requested", "run.*"]}],
    "retrain.every_days": 7.0,
}


def page() -> str:
    return markdown.page(
        "recipe.md",
        differing=EXAMPLE,
        example=example(),
        keys_of=keys_of,
        model=model,
        methods=METHODS,
        sections=SECTIONS,
        spec=graders.Spec,
        graders=grader_types(),
    )


def grader_types() -> list[type[BaseModel]]:
    """The grader models in the order of the union."""
    return list(_models(graders.Grader))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def example() -> str:
    """A recipe in YAML that names every key of a supervised recipe, each with its meaning as a comment.

    Raises KeyError for a key of EXAMPLE that the recipe does not have.
    """
    for path in EXAMPLE:
        part: Any = model.Recipe
        for name in path.split("."):
            field = part.model_fields[name]
            part = type(field.default)
    return "".join(f"{line}\n" for line in _lines(model.Recipe, ""))


def _lines(part: type[BaseModel], path: str) -> Iterator[str]:
    indent = "  " * (path.count(".") + 1 if path else 0)
    for key in keys_of(part):
        where = f"{path}.{key.name}" if path else key.name
        comment = key.meaning + (
            f" ({key.type.replace('`', '')})" if where not in EXAMPLE and "mapping" not in key.type else ""
        )
        yield from textwrap.wrap(
            comment, 110, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ", break_on_hyphens=False
        )
        section = _section(part, key.name)
        if section is not None and where not in EXAMPLE:
            yield f"{indent}{key.name}:"
            yield from _lines(section, where)
        else:
            yield from textwrap.indent(_yaml({key.name: _value(part, key.name, where)}), indent).splitlines()


def _section(part: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The model behind a key that is a mapping."""
    default = part.model_fields[name].default
    return type(default) if isinstance(default, BaseModel) else None


def _value(part: type[BaseModel], name: str, where: str) -> Any:
    if where in EXAMPLE:
        return EXAMPLE[where]
    default = part.model_fields[name].default
    return list(default) if isinstance(default, tuple) else getattr(default, "value", default)


def _yaml(value: Mapping[str, Any]) -> str:
    return yaml.dump(dict(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, short lists in one line."""


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


def _write_list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.SequenceNode:
    plain = all(not isinstance(item, (dict, list)) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=plain)


_Dumper.add_representer(str, _write_text)
_Dumper.add_representer(list, _write_list)
