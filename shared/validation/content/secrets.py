"""Keys and passwords in text, found by the plugins of `detect-secrets`, used as a library.

Only plugins that know a secret by its form: entropy and variable names say little about prose. None asks a server.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
from detect_secrets.plugins.base import RegexBasedDetector
from detect_secrets.plugins.basic_auth import BasicAuthDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
from detect_secrets.plugins.jwt import JwtTokenDetector
from detect_secrets.plugins.npm import NpmDetector
from detect_secrets.plugins.openai import OpenAIDetector
from detect_secrets.plugins.private_key import PrivateKeyDetector
from detect_secrets.plugins.pypi_token import PypiTokenDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector
from detect_secrets.plugins.square_oauth import SquareOAuthDetector
from detect_secrets.plugins.stripe import StripeDetector
from detect_secrets.plugins.telegram_token import TelegramBotTokenDetector
from detect_secrets.plugins.twilio import TwilioKeyDetector

# Some patterns of the plugins take quadratic time on a long line, so they never see one.
_WINDOW = 4096
_OVERLAP = 512
_PLACEHOLDER = "[SECRET]"


class AzureCredentialDetector(RegexBasedDetector):
    """Signatures of shared access, access keys of namespaces, client secrets of Entra ID."""

    secret_type = "Azure credential"  # noqa: S105
    denylist = (
        re.compile(r"[?&;]sig=([A-Za-z0-9%/+]{40,120}(?:=|%3[dD])?)"),
        re.compile(r"SharedAccessKey=([A-Za-z0-9+/]{40,90}={0,2})", re.I),
        re.compile(r"(?<![\w~.-])([\w~.]{3}\dQ~[\w~.-]{31,34})(?![\w~.-])", re.A),
    )


class ConnectionStringDetector(RegexBasedDetector):
    """A password between the semicolons of a database's connection string."""

    secret_type = "Connection string"  # noqa: S105
    denylist = (
        re.compile(
            r"(?:Server|Data Source|Host|User Id|Uid|Database)=[^\n]{1,300}?;\s?(?:Password|Pwd)=([^;\s\"']{4,128})",
            re.I,
        ),
    )


class VendorKeyDetector(RegexBasedDetector):
    """Keys of Hugging Face, Google and Anthropic."""

    secret_type = "Vendor key"  # noqa: S105
    denylist = (
        re.compile(r"\b(hf_[A-Za-z0-9]{30,40})\b"),
        re.compile(r"\b(AIza[0-9A-Za-z_-]{35})(?![\w-])"),
        re.compile(r"\b(sk-ant-[A-Za-z0-9_-]{40,120})"),
    )


_PLUGINS = {
    "aws_key": AWSKeyDetector(),
    "azure_storage_key": AzureStorageKeyDetector(),
    "azure_credential": AzureCredentialDetector(),
    "password_in_url": BasicAuthDetector(),
    "connection_string": ConnectionStringDetector(),
    "github_token": GitHubTokenDetector(),
    "gitlab_token": GitLabTokenDetector(),
    "json_web_token": JwtTokenDetector(),
    "npm_token": NpmDetector(),
    "openai_key": OpenAIDetector(),
    "private_key": PrivateKeyDetector(),
    "pypi_token": PypiTokenDetector(),
    "sendgrid_key": SendGridDetector(),
    "slack_token": SlackDetector(),
    "square_token": SquareOAuthDetector(),
    "stripe_key": StripeDetector(),
    "telegram_token": TelegramBotTokenDetector(),
    "twilio_key": TwilioKeyDetector(),
    "vendor_key": VendorKeyDetector(),
}

# RE2 patterns that match wherever a plugin can: all plugins on every row would cost more than the rest of the scan.
TRIGGERS = {
    "aws_key": r"A3T|ABIA|ACCA|AKIA|ASIA|(?i:aws)[^\n]*['\"]",
    "azure_storage_key": r"AccountKey=",
    "azure_credential": r"[?&;]sig=|(?i:SharedAccessKey=)|\dQ~",
    "password_in_url": r"://[^\s]+:[^\s]+@",
    "connection_string": r"(?i)(password|pwd)=",
    "github_token": r"gh[pousr]_",
    "gitlab_token": r"gl[a-z]+-|GR1348941",
    "json_web_token": r"eyJ[A-Za-z0-9=_-]+\.",
    "npm_token": r"_authToken=",
    "openai_key": r"T3BlbkFJ",
    "private_key": r"PRIVATE KEY|PuTTY-User-Key|ENCRYPTED PRIVATE",
    "pypi_token": r"pypi-Ag",
    "sendgrid_key": r"SG\.[a-zA-Z0-9_-]{22}",
    "slack_token": r"(?i)xox[a-z]-|hooks\.slack",
    "square_token": r"sq0csp-",
    "stripe_key": r"[rs]k_live_",
    "telegram_token": r"\d{8}:[0-9A-Za-z_-]{20}",
    "twilio_key": r"(AC|SK)[a-z0-9]{32}",
    "vendor_key": r"hf_[A-Za-z0-9]{20}|AIza|sk-ant-",
}


def find(text: str, kinds: frozenset[str] = frozenset(TRIGGERS)) -> Counter[str]:
    """How many different secrets of each kind the text holds. `kinds` narrows it to keys of `TRIGGERS`."""
    found: dict[str, set[str]] = {}
    for window in _windows(text):
        for kind in kinds:
            values = _values(kind, window)
            if values:
                found.setdefault(kind, set()).update(values)
    return Counter({kind: len(values) for kind, values in found.items()})


# A plugin names only the first line of a private key.
_PRIVATE_KEY = re.compile(
    r"-{4,5} ?BEGIN[^\n-]{0,40}PRIVATE KEY[^\n-]{0,10}-{4,5}.*?(?:-{4,5} ?END[^\n]{0,60}-{4,5}|\Z)"
    r"|PuTTY-User-Key-File-\d.*\Z",
    re.S,
)


def redacted(texts: list[str], kinds: frozenset[str] = frozenset(TRIGGERS)) -> list[str]:
    """The texts with a placeholder for each secret of these kinds."""
    return [_redacted(text, kinds) for text in texts]


def _redacted(text: str, kinds: frozenset[str]) -> str:
    if "private_key" in kinds:
        text = _PRIVATE_KEY.sub(_PLACEHOLDER, text)
    values = {value for window in _windows(text) for kind in kinds for value in _values(kind, window)}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, _PLACEHOLDER)
    return text


def _values(kind: str, window: str) -> set[str]:
    return {value for value in _PLUGINS[kind].analyze_string(window) if value and value != _PLACEHOLDER}


def _windows(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if len(line) <= _WINDOW:
            yield line
        else:
            yield from (line[at : at + _WINDOW] for at in range(0, len(line), _WINDOW - _OVERLAP))
