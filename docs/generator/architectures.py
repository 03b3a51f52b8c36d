"""`architectures.md`: how each architecture is trained, or why it is refused."""

from docs.generator import markdown
from shared.domain.catalog import CATALOG, READINGS, RowReading


def page() -> str:
    return markdown.page("architectures.md", architectures=[_row(kind, each) for kind, each in READINGS.items()])


def _row(kind: str, reading: RowReading) -> tuple[str, ...]:
    passed = "passes" if reading.rows else "refused"
    adapters = reading.adapters if isinstance(reading.adapters, str) else markdown.listed(reading.adapters)
    models = (entry for entry in CATALOG.values() if entry.architecture and entry.architecture.model_type == kind)
    bases = markdown.listed(entry.id for entry in models)
    offered = f"none is offered: {reading.unplanned}" if reading.unplanned else bases
    return f"`{kind}`", reading.rows or "", *[passed] * 6, reading.why, adapters if reading.rows else "", offered
