"""`errors.md`: the error classes, the classes of a failure, and every code a run or the API can answer with."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from docs.generator import markdown, raises
from docs.generator.raises import Raised
from shared.domain.errors import RETRY_RULES, DroptuneError

ROOT = Path(__file__).resolve().parents[2]
RUN_PACKAGES = ("shared", "training_job")
API_PACKAGES = ("functions/http",)


def page() -> str:
    return markdown.page(
        "errors.md",
        rules={name.value: rule for name, rule in RETRY_RULES.items()},
        tree="\n".join(_tree(DroptuneError)),
        failures=_rows(RUN_PACKAGES, "Problem"),
        refusals=_rows(API_PACKAGES, "ApiError"),
    )


def _tree(cls: type[DroptuneError], indent: str = "") -> Iterator[str]:
    if not indent:
        yield f"{cls.__name__}: {markdown.first_line(cls.__doc__)}"
    for child in cls.__subclasses__():
        if child.__module__ == cls.__module__:
            yield f"{indent}├── {child.__name__}: {markdown.first_line(child.__doc__)}"
            yield from _tree(child, indent + "│   ")


def _rows(packages: Iterable[str], name: str) -> list[tuple[str, str, str, str]]:
    """One for each code and kind, with the longest message and all modules.

    `Problem` is raised with a failure class, or with the reason of a rollback; `ApiError` with an HTTP status.
    """
    groups: dict[tuple[str, str], list[Raised]] = defaultdict(list)
    for path in (path for package in packages for path in sorted((ROOT / package).rglob("*.py"))):
        for raised in raises.in_module(path.read_text(encoding="utf-8"), name, path.relative_to(ROOT).as_posix()):
            groups[raised.code, raised.kind].append(raised)
    rows = []
    for (code, kind), group in sorted(groups.items()):
        message = max((raised.message for raised in group), key=lambda text: len(text.replace("…", "")))
        modules = markdown.listed(dict.fromkeys(raised.module for raised in group))
        rows.append((f"`{code}`", markdown.code(kind), message, modules))
    return rows
