"""Chat templates, in the sandbox and with the functions of transformers 5 (`apply_chat_template`); a test compares
both. A template is somebody else's program: it gets plain data, and may raise anything."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

DAY = datetime(2024, 7, 26)  # noqa: DTZ001  # what Llama 3.2's template says where no day is known
Span = tuple[int, int]
OWN_CHARACTERS = 4  # shorter literals of a template may be words of a row by chance
MAX_QUOTED = 300


class TemplateNotTrainable(Exception):
    """The chat template does not show what a model has to write after the text that asks for an answer."""

    code = "template_not_trainable"


class TooManyTurns(TemplateNotTrainable):
    """What asks for the answers of a row is too long, all of it together."""

    code = "too_many_turns"


class _Generation(Extension):
    """`{% generation %}...{% endgeneration %}`: prints what is inside. Prompts show where an answer begins."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


class _Namespace(Namespace):
    """Jinja's, without names that could lead out of the sandbox."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, args = args[0], args[1:]
        attributes = dict(*args, **kwargs)
        for name in attributes:
            _refuse_private(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_private(name)
        super().__setitem__(name, value)


class _Dict:
    """`dict(...)` in a template, without the type behind it."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


def _refuse_private(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace takes no underscored name: {name!r}")


class _TemplateRefusal(jinja2.TemplateError):
    """`raise_exception(...)` in a template."""


def _raise_exception(message: Any) -> NoReturn:
    raise _TemplateRefusal(str(message))


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Jinja's own filter escapes what HTML would misread; a prompt is no HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class ChatTemplate:
    """A template with named special tokens as variables. Raises jinja2.TemplateSyntaxError."""

    def __init__(self, text: str, special_tokens: Mapping[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals.update(
            raise_exception=_raise_exception, strftime_now=DAY.strftime, dict=_Dict(), namespace=_Namespace
        )
        self.text = text
        self._template = environment.from_string(text)
        self._variables = {"documents": None, **special_tokens}

    def render(self, messages: list[dict[str, Any]], tools: Any = None, *, ask: bool = False) -> str:
        """The text of a dialogue; `ask` opens the assistant's turn."""
        return self._template.render(messages=messages, tools=tools, add_generation_prompt=ask, **self._variables)

    def literals(self) -> str:
        """All text that stands in the template itself; a token found in it is the template's to write."""
        return "\0".join(self._literals)

    @cached_property
    def _literals(self) -> list[str]:
        tree = self._template.environment.parse(self.text)
        parts = [node.data for node in tree.find_all(nodes.TemplateData)]
        return parts + [node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)]

    def words_of(self, error: Exception) -> str:
        """Why a row was refused, in the template's own words; of what they quote from the row only an ellipsis."""
        if not isinstance(error, _TemplateRefusal):
            return f"{type(error).__name__} in the template"
        own = sorted({text.strip() for text in self._literals if len(text.strip()) >= OWN_CHARACTERS}, key=len)
        pattern = "|".join(re.escape(text) for text in reversed(own)) or "(?!)"
        found = [part.strip() for part in re.split(f"({pattern})", str(error.message))]
        words = " ".join(part if at % 2 else "…" for at, part in enumerate(found) if part)
        return f'"{words[:MAX_QUOTED]}"'
