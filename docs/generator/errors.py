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
        failures=_rows(failures()),
        refusals=_rows(refusals()),
    )


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
