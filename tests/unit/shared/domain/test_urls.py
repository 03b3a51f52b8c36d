"""URLs that a webhook may have, and those of this machine."""

from __future__ import annotations

import pytest

from shared.domain.urls import check_web_url, is_loopback, objection


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "http://example.com:8080/x?y=z",
        "https://user:word@example.com/",
        "https://bücher.example/",
        "https://192.0.2.1/",
        "https://[2001:db8::1]:443/",
        "https://example.com.",
    ],
)
def test_a_url_with_a_possible_host_and_port_is_taken(url: str) -> None:
    assert check_web_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://example.com",
        "https://",
        "https://example.com:0",
        "https://example.com:70000",
        "https://example.com:x",
        "https://1.2.3",
        "https://192.0.2.256",
        "https://[2001:db8::g]",
        "https://[192.0.2.1]",
        "https://a..b",
        f"https://{'a' * 64}.example",
        f"https://{'a.' * 130}example",
        "https://exam ple.com",
        "https://example.com/\n",
    ],
)
def test_a_url_that_leads_nowhere_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not a URL with a valid host and port"):
        check_web_url(url)


@pytest.mark.parametrize(
    ("url", "is_here"),
    [
        ("http://127.0.0.1:80/", True),
        ("http://LOCALHOST/", True),
        ("sb://[::1]/", True),
        ("http://127.0.0.1.example.com/", False),
        ("http://127.0.0.1@example.com/", False),
        ("nothing", False),
    ],
)
def test_only_a_host_of_this_machine_is_loopback(url: str, is_here: bool) -> None:
    assert is_loopback(url) is is_here


@pytest.mark.parametrize(
    ("receiver", "private_hosts", "why"),
    [
        ("https://hooks.example.org/x", (), None),
        ("https://hooks.example.org:443/x", (), None),
        ("https://93.184.215.14/x", (), None),
        ("https://bücher.example/x", (), None),
        ("https://10.0.0.4/x", ("10.0.0.4",), None),
        ("http://siem:8080/x", ("siem",), None),
        ("http://siem:8080/x", (), "siem: only https at port 443"),
        ("https://jane:word@siem.example/in", (), None),
        ("http://10.0.0.4:8080/in", ("10.0.0.4",), None),
        ("https://a.localhost/x", (), "a.localhost is not a public address"),
        ("https://[2606:2800::1%25eth0]/x", (), "2606:2800::1%25eth0 is not a public address"),
        ("ftp://hooks.example/x", (), "the URL is not a web address"),
        ("https://a_\u2603.example/\n", (), "the URL is not a web address"),
        (f"https://h.example/{'a' * 8000}", (), "h.example: the URL is longer than 8000 characters"),
    ],
)
def test_where_nothing_is_sent_to(receiver: str, private_hosts: tuple[str, ...], why: str | None) -> None:
    assert objection(receiver, private_hosts) == why
