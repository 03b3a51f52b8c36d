"""Which URLs a target may have, as far as their text shows, and which are of this machine."""

import re
import socket
from collections.abc import Collection
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
_HOST_AND_PORT = re.compile(r"(?:\[(?P<ipv6>.+)\]|(?P<name>[^][:]+))(?::\d*)?")
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")
_MAX_NAME_CHARACTERS = 253  # of the 255 octets of RFC 1035, two are no characters of the text
_MAX_URL_CHARACTERS = 8000  # RFC 9110, section 4.1: what everybody should take at least
# Microsoft Learn, "What is IP address 168.63.129.16?": the platform's own address, which every machine reaches.
_OF_AZURE = IPv4Address("168.63.129.16")
# IANA's registries of special-purpose addresses have these, and the `ipaddress` of each Python does not: protocol
# assignments, 6to4 relays (RFC 7526), documentation (RFC 9637).
_SPECIAL = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"), IPv6Network("3fff::/20"))
_GLOBAL, _NAT64, _6TO4 = IPv6Network("2000::/3"), IPv6Network("64:ff9b::/96"), IPv6Network("2002::/16")


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


def objection(url: str, private_hosts: Collection[str]) -> str | None:
    """Why nothing is sent to a URL; None if its text gives no reason.

    What a name resolves to is seen when connecting. A URL may be a secret: it is not quoted.
    """
    try:
        parts = urlsplit(check_web_url(url))
        host = ascii_host(parts)
    except ValueError:
        return "the URL is not a web address"
    if len(url) > _MAX_URL_CHARACTERS:
        return f"{host}: the URL is longer than {_MAX_URL_CHARACTERS} characters"
    if host in private_hosts:
        return None
    if parts.scheme != "https" or parts.port not in (None, 443):
        return f"{host}: only https at port 443"
    return None if _may_be_public(host) else f"{host} is not a public address"


def ascii_host(parts: SplitResult) -> str:
    """The host of a web URL as the resolver, TLS and the policy get it. Raises ValueError if it has no such form."""
    host = parts.hostname or ""
    if host.isascii():
        return host
    import idna  # what knows of no host needs no tables of Unicode

    return idna.encode(host, uts46=True).decode()


def _may_be_public(host: str) -> bool:
    if host.removesuffix(".").rpartition(".")[2] == "localhost":  # RFC 6761: itself and all names below
        return False
    with suppress(ValueError):
        return is_public(host)
    try:  # numbers that the system reads as an address, as 0x7f000001
        return is_public(str(IPv4Address(socket.inet_aton(host))))
    except OSError:
        return True


def is_public(text: str) -> bool:
    """Whether only the internet is behind the address, also where an IPv6 address stands for one of IPv4.

    Forms that nothing public has any more are refused whole: 6to4, IPv4-compatible, site-local, the NAT64 of a network.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address in _NAT64 or address.ipv4_mapped:
            address = IPv4Address(int(address) & 0xFFFFFFFF)
        elif address not in _GLOBAL or address in _6TO4 or address.scope_id:
            return False
    if any(address.version == one.version and address in one for one in _SPECIAL):
        return False
    return address.is_global and not address.is_multicast and address != _OF_AZURE


def is_loopback(url: str) -> bool:
    """Whether it is of this machine: only there do clients speak to an emulator, with the keys that everybody knows."""
    return urlsplit(url).hostname in LOOPBACK_HOSTS
