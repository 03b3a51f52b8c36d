from __future__ import annotations

import base64
import random
import string
import time

import pytest

from shared.validation.content import secrets
from shared.validation.content.pattern_set import PatternSet


def _random(length: int, letters: str = string.ascii_letters + string.digits) -> str:
    return "".join(random.Random(length).choices(letters, k=length))


def _token(payload: str) -> str:
    return base64.urlsafe_b64encode(payload.encode()).decode().rstrip("=")


# Put together here, so that no scanner takes this file for a leak.
EXAMPLES = {
    "aws_key": "AKIA" + _random(16, string.ascii_uppercase),
    "azure_storage_key": "AccountName=x;AccountKey=" + _random(86) + "==;EndpointSuffix=core.windows.net",
    "azure_credential": "https://a.blob.core.windows.net/c?sv=2023-01-03&sp=r&sig=" + _random(43) + "%3D",
    "password_in_url": "postgres://admin:" + "hunter22" + "@db.example.com/claims",
    "connection_string": "Server=tcp:x.example.com;Database=d;User Id=sa;Password=" + "hunter22;",
    "github_token": "ghp_" + _random(36),
    "gitlab_token": "glpat-" + _random(20),
    "json_web_token": ".".join([_token('{"alg":"HS256","typ":"JWT"}'), _token('{"sub":"1"}'), _random(43)]),
    "npm_token": "//registry.example.com/:_authToken=npm_" + _random(36),
    "openai_key": "sk-" + _random(20) + "T3Blbk" + "FJ" + _random(20),
    "private_key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "pypi_token": "pypi-AgEIcHlwaS5vcmc" + _random(80),
    "sendgrid_key": "SG." + _random(22) + "." + _random(43),
    "slack_token": "xoxb-" + "1234-5678-" + _random(24, string.ascii_lowercase),
    "square_token": "sq0csp-" + _random(43),
    "stripe_key": "sk_" + "live_" + _random(24),
    "telegram_token": "110201543:" + _random(35),
    "twilio_key": "SK" + _random(32, "0123456789abcdef"),
    "vendor_key": "hf_" + _random(34),
}
HARMLESS = (
    "The password was changed last week; ask the secret service.",
    "Part AC-32 and SK 14, sig=short, see https://example.com/a:b and mail a@b.com.",
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8 fixes the token parser",
    "AKIA is a prefix, eyJ too; SG. means Singapore.",
    "Server room: temperature=21; Password policy reviewed.",
)


@pytest.mark.parametrize("kind", sorted(secrets.TRIGGERS))
def test_each_kind_of_secret_is_found_behind_its_trigger(kind: str) -> None:
    text = f"Please use this one: {EXAMPLES[kind]}\nand delete it."
    assert kind in PatternSet(secrets.TRIGGERS).hits(text)
    assert kind in secrets.find(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_text_holds_no_secret(text: str) -> None:
    assert not secrets.find(text)


def test_a_secret_across_a_window_is_found() -> None:
    text = "x" * (secrets._WINDOW - 20) + " " + EXAMPLES["github_token"]
    assert secrets.find(text) == {"github_token"}


@pytest.mark.ci
def test_a_hostile_line_takes_time_in_proportion_to_its_length() -> None:
    line = "sk-" * 40_000 + "T3Blbk" + "FJ"
    started = time.thread_time()
    secrets.find(line)
    assert time.thread_time() - started < 20
