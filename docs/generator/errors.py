"""`errors.md`: the error classes, the classes of a failure, and every code a run or the API can answer with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from docs.generator import markdown, raises
from docs.generator.raises import Raised
from shared.domain.errors import RETRY_RULES, DroptuneError, FailureClass

ROOT = Path(__file__).resolve().parents[2]
RUN_PACKAGES = ("shared", "training_job")
API_PACKAGES = ("functions/http",)

MEANINGS = {
    FailureClass.DATA: "the dataset is wrong or gone: correct it and drop it again",
    FailureClass.RECIPE: "the recipe asks for what is not possible: correct it and drop the data again",
    FailureClass.LICENSE: "the license of the base model does not allow the use: choose another base model",
    FailureClass.BUDGET: "the run or the month would cost more than allowed: raise the limit or train less",
    FailureClass.QUOTA: "the subscription has too few cores of the machine family: request quota",
    FailureClass.CAPACITY: "no machine was free, or memory or disk ran out: wait, or choose another machine",
    FailureClass.PLATFORM: "a service failed or refused: look at the message, retry",
    FailureClass.CODE: "a fault of this product: report it with the message",
    FailureClass.GATE: "a check of the gate refused: nothing is wrong with the system",
}

INTRODUCTION = """\
Every error has the shape `{code, message, param}`: on a run, in an event, in a job's result file and over HTTP.
What to do about a failed run is in [When a run fails](../how-to/when-a-run-fails.md)."""

CODES = """\
The message is what the code formats; `…` stands for a value that is known only when it happens. Codes of Azure services
keep the service's own text in the message."""


def page() -> str:
    return markdown.page(
        "Errors",
        "`shared/domain/errors.py` and the places that raise them",
        INTRODUCTION,
        "## Failure classes",
        markdown.table(("class", "tries", "meaning"), [_class(name) for name in FailureClass]),
        "How long the waits between tries are: [Deadlines and retries](deadlines-and-retries.md).",
        "## Error classes in the code",
        "```text\n" + "\n".join(_tree(DroptuneError)) + "\n```",
        "## Codes of a failed run",
        CODES,
        markdown.table(("code", "class", "message", "raised in"), _rows(failures())),
        "## Codes of the HTTP API",
        markdown.table(("code", "status", "message", "raised in"), _rows(refusals())),
    )


def _class(name: FailureClass) -> tuple[str, str, str]:
    return f"`{name.value}`", str(RETRY_RULES[name].attempts), MEANINGS[name]


def _tree(cls: type[DroptuneError], indent: str = "") -> Iterator[str]:
    if not indent:
        yield f"{cls.__name__}: {markdown.first_line(cls.__doc__)}"
    for child in cls.__subclasses__():
        if child.__module__ == cls.__module__:
            yield f"{indent}├── {child.__name__}: {markdown.first_line(child.__doc__)}"
            yield from _tree(child, indent + "│   ")


def failures() -> list[Raised]:
    """Codes with a failure class, and the reasons for which a rollout is rolled back."""
    return _found(RUN_PACKAGES, "Problem")


def refusals() -> list[Raised]:
    """Codes with an HTTP status."""
    return _found(API_PACKAGES, "ApiError")


def _found(packages: Iterable[str], name: str) -> list[Raised]:
    """One entry a code and kind, with the longest message and all modules."""
    groups: dict[tuple[str, str], list[Raised]] = defaultdict(list)
    for path in (path for package in packages for path in sorted((ROOT / package).rglob("*.py"))):
        for raised in raises.in_module(path.read_text(encoding="utf-8"), name, path.relative_to(ROOT).as_posix()):
            groups[raised.code, raised.kind].append(raised)
    return [_merged(group) for _, group in sorted(groups.items())]


def _merged(group: list[Raised]) -> Raised:
    modules = dict.fromkeys(raised.module for raised in group)
    message = max((raised.message for raised in group), key=lambda text: len(text.replace("…", "")))
    return Raised(group[0].code, group[0].kind, message, ", ".join(modules))


def _rows(found: list[Raised]) -> list[tuple[str, str, str, str]]:
    return [(f"`{r.code}`", markdown.code(r.kind), r.message, markdown.listed(r.module.split(", "))) for r in found]
