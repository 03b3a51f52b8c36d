"""Which URLs a webhook may have, as far as their text shows, and which are of this machine."""

import re
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

CHANNEL = "channel:"  # begins what stands for the URL of a channel that the platform keeps; its name follows
CHANNEL_NAME = r"^[a-z][a-z0-9_-]{0,63}$"
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
_HOST_AND_PORT = re.compile(r"(?:\[(?P<ipv6>.+)\]|(?P<name>[^][:]+))(?::\d*)?")
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")
_MAX_NAME_CHARACTERS = 253  # of the 255 octets of RFC 1035, two are no characters of the text


def check_web_url(url: str) -> str:
    """The URL. Raises ValueError if it is not http or https with a possible host and port."""
    if not url.isprintable() or not _is_web_url(url):
        raise ValueError("it is not a URL with a valid host and port")
    return url


def _is_web_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = _HOST_AND_PORT.fullmatch(parts.netloc.rpartition("@")[2])
        if host is None or parts.scheme not in ("http", "https") or parts.port == 0:
            return False
        return bool(IPv6Address(host["ipv6"])) if host["ipv6"] else _is_name(host["name"])
    except ValueError:  # a port out of range, a malformed address, a name without an IDNA form
        return False


def _is_name(host: str) -> bool:
    """Raises ValueError for a malformed IPv4 address and for a name without an IDNA form."""
    name = host.encode("idna").decode()
    name.encode().decode("idna")
    labels = name.removesuffix(".").split(".")
    if labels[-1].isdecimal():  # as in the URL standard, a name does not end in a number
        return bool(IPv4Address(name))
    return len(name) <= _MAX_NAME_CHARACTERS and all(map(_LABEL.fullmatch, labels))


def is_loopback(url: str) -> bool:
    """Whether it is of this machine: only there do clients speak to an emulator, with the keys that everybody knows."""
    return urlsplit(url).hostname in LOOPBACK_HOSTS
