"""Keys and passwords by their form, with plugins of `detect-secrets`. No entropy, which says little about prose."""

import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from detect_secrets.plugins.base import RegexBasedDetector

from shared.validation.content.pattern_set import PATTERNS

# Some patterns of the plugins take quadratic time on a long line, so they never see one.
_WINDOW = 4096
_OVERLAP = 512
_PLACEHOLDER = "[SECRET]"


def _plugin(plugin: str = "", forms: Sequence[str] = (), **_: str) -> Any:
    """One of the library, or of our own forms."""
    module, name = plugin.rpartition(".")[::2]
    if plugin:
        return getattr(import_module(f"detect_secrets.plugins.{module}"), name)()
    own = {"secret_type": "Secret", "denylist": tuple(map(re.compile, forms))}
    return type("OwnForms", (RegexBasedDetector,), own)()


_PLUGINS = {kind: _plugin(**one) for kind, one in PATTERNS["secrets"].items()}
TRIGGERS: dict[str, str] = {kind: one["trigger"] for kind, one in PATTERNS["secrets"].items()}  # RE2 patterns


def find(text: str, kinds: frozenset[str] = frozenset(TRIGGERS)) -> set[str]:
    """The kinds of secrets that the text holds. `kinds` narrows it to keys of `TRIGGERS`."""
    return {kind for window in _windows(text) for kind in kinds if _values(kind, window)}


# A plugin names only the first line of a private key.
_PRIVATE_KEY = re.compile(
    r"-{4,5} ?BEGIN[^\n-]{0,40}PRIVATE KEY[^\n-]{0,10}-{4,5}.*?(?:-{4,5} ?END[^\n]{0,60}-{4,5}|\Z)"
    r"|PuTTY-User-Key-File-\d.*\Z",
    re.S,
)


def redacted(texts: list[str], kinds: frozenset[str] = frozenset(TRIGGERS)) -> list[str]:
    """The texts with a placeholder for each secret of these kinds."""
    found = []
    for text in texts:
        if "private_key" in kinds:
            text = _PRIVATE_KEY.sub(_PLACEHOLDER, text)
        values = {value for window in _windows(text) for kind in kinds for value in _values(kind, window)}
        for value in sorted(values, key=len, reverse=True):
            text = text.replace(value, _PLACEHOLDER)
        found.append(text)
    return found


def _values(kind: str, window: str) -> set[str]:
    return {value for value in _PLUGINS[kind].analyze_string(window) if value and value != _PLACEHOLDER}


def _windows(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if len(line) <= _WINDOW:
            yield line
        else:
            yield from (line[at : at + _WINDOW] for at in range(0, len(line), _WINDOW - _OVERLAP))
