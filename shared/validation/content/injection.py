"""Signs that a row was made to mislead: hidden characters, control tokens, blobs; and placeholders of media."""

import re

import re2

from shared.validation.content.pattern_set import PATTERNS
from shared.validation.names import PLACEHOLDER

TRIGGERS = {code: "|".join(parts) for code, parts in PATTERNS["injection"]["triggers"].items()}  # RE2 patterns
TRIGGERS["control_tokens"] += "".join(f"|{re2.escape(token)}" for token in PATTERNS["injection"]["control_tokens"])
TRIGGERS["media_placeholder"] = PLACEHOLDER
_TAG = re.compile("[\U000e0020-\U000e007e]")
_FLAG = re.compile("\U0001f3f4[\U000e0020-\U000e007e]{1,8}\U000e007f")
_BLOBS = re.compile(r"[A-Za-z0-9+/_-]{160,}")


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
    return re2.search(TRIGGERS["hidden_characters"], without_flags) is not None


def _is_blob(run: str) -> bool:
    """Base64 mixes capitals, small letters and digits; a hash, a gene or a ruled line does not."""
    return any(map(str.isupper, run)) and any(map(str.islower, run)) and any(map(str.isdigit, run))
