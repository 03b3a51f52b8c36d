"""`licenses.md`: what the licenses of base models ask for and bar, by use."""

from collections.abc import Iterator

from docs.generator import markdown
from shared.domain.catalog import CATALOG, LICENSES, USES, License

_POLICY = {"allow": "no", "review": "yes", "deny": "not offered"}


def page() -> str:
    return markdown.page(
        "licenses.md",
        licenses=[_row(text) for text in LICENSES.values()],
        uses=[(f"`{use}`", meaning, ", ".join(_barring(use)) or "none") for use, meaning in USES.items()],
    )


def _row(text: License) -> tuple[str, ...]:
    bases = ", ".join(f"`{entry.id}`" for entry in CATALOG.values() if entry.terms.id == text.id)
    texts = ", ".join(f"[{'read' if sha256 else 'not read'}]({place})" for place, sha256 in text.texts.items())
    return f"`{text.id}`", bases, _POLICY[text.policy], " ".join(text.obligations), texts


def _barring(use: str) -> Iterator[str]:
    return (f"`{text.id}`" for text in LICENSES.values() if use in text.barred_uses)
