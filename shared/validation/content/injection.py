"""Signs that a row was made to mislead: hidden characters, look-alike letters, control tokens, blobs, instructions.

And placeholders of what a text cannot hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import re2

from shared.validation.content.pattern_set import PATTERNS
from shared.validation.names import PLACEHOLDER

_CONTROL = r"<\|[A-Za-z0-9_:-]{1,60}\|>|<｜[^｜\n]{1,40}｜>"  # noqa: RUF001

# Zero-width characters inside Latin text, characters that turn the writing direction, and invisible tag characters.
# Joiners inside emoji, Persian or Indic text, and marks beside Arabic or Hebrew, are how those are written.
_HIDDEN = (
    r"[A-Za-z0-9 ,.][\x{200b}-\x{200d}\x{2060}-\x{2064}\x{feff}]+[A-Za-z0-9 ,.]"
    r"|[\x{202a}\x{202b}\x{202d}\x{202e}\x{2066}-\x{2068}]|[\x{e0020}-\x{e007e}]"
)
_TAG = re.compile("[\U000e0020-\U000e007e]")
_FLAG = re.compile("\U0001f3f4[\U000e0020-\U000e007e]{1,8}\U000e007f")

# Letters of other alphabets that look like Latin ones (the common part of Unicode's confusables, UTS 39).
_CONFUSABLE = "АВЕЅІЈКМНОРСТХУаеоѕрсухіјһԁԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧοι"  # noqa: RUF001
_HOMOGLYPH = f"[A-Za-z]{{2}}[{_CONFUSABLE}]|[{_CONFUSABLE}][A-Za-z]{{2}}"

_BLOB = r"[A-Za-z0-9+/_-]{160}"
_BLOBS = re.compile(r"[A-Za-z0-9+/_-]{160,}")

_OVERRIDE = (
    r"(?i)\b(ignore|disregard|forget|override|bypass)\b[^.\n]{0,24}"
    r"\b(previous|prior|above|earlier|preceding|all|your|system|safety)\b[^.\n]{0,24}"
    r"\b(instructions?|prompts?|rules|guidelines|directives?|guardrails?)\b"
    r"|\b(reveal|print|repeat|show|output)\b[^.\n]{0,16}\b(your|the) (system|hidden|initial) (prompt|instructions?)"
    r"|\byou are now (in )?(dan\b|developer mode|jailbroken|unrestricted)|\b(do anything now|jailbreak mode)\b"
)


def triggers(special_tokens: Iterable[str] = ()) -> dict[str, str]:
    """Code -> RE2 pattern. `special_tokens` are those of the base model, beside the common ones."""
    tokens = [re2.escape(token) for token in {*PATTERNS["injection"]["control_tokens"], *special_tokens} if token]
    return {
        "hidden_characters": _HIDDEN,
        "homoglyphs": _HOMOGLYPH,
        "control_tokens": "|".join([_CONTROL, *sorted(tokens)]),
        "encoded_blob": _BLOB,
        "prompt_injection": _OVERRIDE,
        "media_placeholder": PLACEHOLDER,
    }


def confirmed(code: str, text: str) -> bool:
    """Whether a text that a trigger matched is one, for the codes where the pattern alone is not enough."""
    if code == "hidden_characters":
        return _has_hidden(text)
    if code == "media_placeholder":
        return not any(f"</{tag}>" in text for tag in ("image", "audio", "video"))
    if code == "encoded_blob":
        return any(_is_blob(match[0]) for match in _BLOBS.finditer(text))
    return True


def _has_hidden(text: str) -> bool:
    without_flags = _FLAG.sub("", text)
    if without_flags == text or _TAG.search(without_flags):
        return True
    return re2.search(_HIDDEN, without_flags) is not None


def _is_blob(run: str) -> bool:
    """Base64 mixes capitals, small letters and digits; a hash, a gene or a ruled line does not."""
    return any(map(str.isupper, run)) and any(map(str.islower, run)) and any(map(str.isdigit, run))
