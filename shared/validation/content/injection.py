"""Signs that a row was made to mislead: hidden characters, look-alike letters, control tokens, blobs, instructions.

And placeholders of what a text cannot hold.
"""

import re
from collections.abc import Iterable

import re2

from shared.validation.content.pattern_set import PATTERNS
from shared.validation.names import PLACEHOLDER

_TOKENS = PATTERNS["injection"]["control_tokens"]
_TRIGGERS = {code: "|".join(parts) for code, parts in PATTERNS["injection"]["triggers"].items()}
_TAG = re.compile("[\U000e0020-\U000e007e]")
_FLAG = re.compile("\U0001f3f4[\U000e0020-\U000e007e]{1,8}\U000e007f")
_BLOBS = re.compile(r"[A-Za-z0-9+/_-]{160,}")


def triggers(special_tokens: Iterable[str] = ()) -> dict[str, str]:
    """Code -> RE2 pattern. `special_tokens` are those of the base model, beside the common ones."""
    tokens = sorted(re2.escape(token) for token in {*_TOKENS, *special_tokens} if token)
    control = "|".join([_TRIGGERS["control_tokens"], *tokens])
    return {**_TRIGGERS, "control_tokens": control, "media_placeholder": PLACEHOLDER}


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
    return re2.search(_TRIGGERS["hidden_characters"], without_flags) is not None


def _is_blob(run: str) -> bool:
    """Base64 mixes capitals, small letters and digits; a hash, a gene or a ruled line does not."""
    return any(map(str.isupper, run)) and any(map(str.islower, run)) and any(map(str.isdigit, run))
