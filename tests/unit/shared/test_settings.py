"""Settings are read from the environment, and all that is wrong is said at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.domain.errors import InvalidInput
from shared.settings import load_settings, path_of


@pytest.fixture(autouse=True)
def _read_anew() -> Iterator[None]:
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


def test_a_setting_is_a_variable_of_its_name_and_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOB_POLL_S", "7.5")
    assert load_settings().job_poll_s == 7.5
    monkeypatch.setenv("JOB_POLL_S", "9")
    assert load_settings().job_poll_s == 7.5


def test_every_setting_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"JOB_POLL_S": "0", "DEBOUNCE_S": "soon", "RUN_RETENTION_DAYS": "-1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInput) as refused:
        load_settings()
    assert refused.value.problem.code == "bad_settings"
    for name in ("JOB_POLL_S: ", "DEBOUNCE_S: ", "RUN_RETENTION_DAYS: "):
        assert name in refused.value.problem.message


@pytest.mark.parametrize(
    ("url", "is_taken"),
    [("loopback:", False), ("https://login.microsoftonline.com/t/v2.0?audience=api://droptune", True)],
)
@pytest.mark.parametrize(
    "variable", ["WEBSITE_SITE_NAME", "CONTAINER_APP_NAME", "KUBERNETES_SERVICE_HOST", "K_SERVICE"]
)
def test_an_app_in_a_cloud_needs_an_issuer(
    monkeypatch: pytest.MonkeyPatch, variable: str, url: str, is_taken: bool
) -> None:
    monkeypatch.setenv(variable, "droptune")
    monkeypatch.setenv("API_AUTH_URL", url)
    if is_taken:
        assert load_settings().api_auth_url == url
    else:
        with pytest.raises(InvalidInput, match="API_AUTH_URL: must name an Entra issuer"):
            load_settings()


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:a/b.db", "a/b.db"),
        ("sqlite:///a/b.db", "a/b.db"),
        ("sqlite:////a/b.db", "/a/b.db"),
        ("sqlite:/a", "/a"),
    ],
)
def test_a_path_has_three_slashes_if_it_is_relative_and_four_if_not(url: str, path: str) -> None:
    assert path_of(url, "sqlite") == Path(path)
