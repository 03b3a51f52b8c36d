"""Whom the HTTPS connections of this process trust."""

import ssl
from functools import cache

import httpx


@cache
def tls_context() -> ssl.SSLContext:
    """Of all clients: the authorities take 17 ms to load, which httpx does for each client of its own."""
    return httpx.create_ssl_context()
