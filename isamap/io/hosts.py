"""Where requests may go: https to the hosts of a source, and whatever server the user named himself.

A catalogue is not trusted: its items may name any address, its servers may send the reader on, and names may resolve
to machines inside the user's own network. Every address is checked before it is asked for, every redirect again, and
the address that a name resolved to before a byte is sent to it.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from isamap.domain.sources import SOURCES, Source
from isamap.errors import ConfigError, InputError

MAX_URL = 4096
"""A presigned S3 address with a session token has some 2000 characters."""
_PORTS = {"https": 443, "http": 80}
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,252}[a-z0-9])?|[0-9a-f:]*:[0-9a-f:.]*", re.ASCII)
_NAMED = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?", re.ASCII)


def shown(url: object) -> str:
    """An address as it may appear in messages, logs and files: without user, query or fragment; on one line."""
    text = str(url)[: 2 * MAX_URL]
    head = re.split(r"[?#]", text, maxsplit=1)[0]
    head = re.sub(r"(?<=//)[^/]*@", "", head)
    return "".join(letter if letter.isprintable() else "?" for letter in head)[:300]


@dataclass(frozen=True)
class Place:
    """A checked address."""

    url: str
    """As it is asked for."""
    host: str
    """Name or address of its server, in lower case."""
    port: int
    """Of the server."""
    named: bool
    """Whether the user named the server: then it may be in a private network and speak http."""

    @property
    def server(self) -> str:
        """Name of the server, for counts and paces."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Policy:
    """Which servers may be asked."""

    name: str
    """Of the source, for messages."""
    hosts: tuple[str, ...]
    """Exact names, or `*.suffix`; https on port 443 only."""
    named: frozenset[tuple[str, int]]
    """Servers the user named: host and port."""

    def check(self, url: str) -> Place:
        """The address, if it may be asked for.

        Raises:
            InputError: its scheme, host or form is not allowed.
        """
        parts = _split(url)
        host, port = (parts.hostname or "").lower(), parts.port or _PORTS[parts.scheme]
        if (host, port) in self.named:
            return Place(url, host, port, named=True)
        if parts.scheme != "https":
            raise InputError(f"{shown(url)}: is not https: only a server you name may speak http")
        if port != _PORTS["https"] or not any(_fits(host, pattern) for pattern in self.hosts):
            raise InputError(
                f"{shown(url)}: {self.name} does not keep its files there: if you trust {host}:{port}, "
                f"allow it with --allow-host {host}:{port}"
            )
        return Place(url, host, port, named=False)


def policy_of(source: Source, named: Iterable[str] = (), endpoint: str = "") -> Policy:
    """Servers that may be asked for a source.

    Args:
        source: a row of SOURCES, or one that the user made by naming an address.
        named: `host` or `host:port` of more servers that the user named.
        endpoint: address of the user's own S3 server.

    Raises:
        ConfigError: a named host is none.
    """
    own = [address for address in (source.url, source.token_url) if address]
    by_user = [netloc for text in named for netloc in _named(text)]
    if endpoint:
        by_user += _named(urlsplit(endpoint).netloc, endpoint)
    if SOURCES.get(source.name) == source:
        return Policy(
            source.name, (*source.hosts, *(urlsplit(url).hostname or "" for url in own)), frozenset(by_user)
        )
    suffixes = tuple(host for host in source.hosts if host.startswith("*."))
    by_user += [netloc for host in source.hosts if host not in suffixes for netloc in _named(host)]
    by_user += [netloc for url in own for netloc in _named(urlsplit(url).netloc, url)]
    return Policy(source.name, suffixes, frozenset(by_user))


def _named(text: str, url: str = "") -> list[tuple[str, int]]:
    """(host, port) of `host:port`; of a host alone, those of the address's scheme or of both."""
    match = _NAMED.fullmatch(text.strip().lower())
    if match is None or int(match[2] or 1) not in range(1, 65536):
        raise ConfigError(f"{text[:80]!r} is no host: write HOST or HOST:PORT, without scheme, user or path")
    host = match[1].strip("[]")
    if match[2]:
        return [(host, int(match[2]))]
    ports = [_PORTS[urlsplit(url).scheme]] if url else list(_PORTS.values())
    return [(host, port) for port in ports]


def _split(url: str) -> SplitResult:
    """The parts of an http(s) address without surprises."""
    scheme = url.partition(":")[0].lower()
    if scheme not in _PORTS or url[len(scheme) : len(scheme) + 3] != "://":
        raise InputError(f"{shown(url)}: is no http(s) address")
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise InputError(f"{shown(url)}: is no plain address of at most {MAX_URL} characters")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"{shown(url)}: is no address: {error}") from error
    if "@" in parts.netloc:
        raise InputError(f"{shown(url)}: carries a user or password, which an address must not")
    if not host or _HOST.fullmatch(host.lower()) is None:
        raise InputError(f"{shown(url)}: names no host")
    return parts


def _fits(host: str, pattern: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def addresses(host: str, port: int, *, named: bool) -> list[Any]:
    """What a name resolves to, as `getaddrinfo` says; only those that may be connected to.

    Connecting to the very addresses that were checked leaves a name server no time to change its answer.

    Raises:
        OSError: the name does not resolve.
        InputError: it resolves to addresses inside some private network, which the user did not name.
    """
    found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    allowed = [one for one in found if named or is_global(str(one[4][0]))]
    if not allowed:
        raise InputError(f"{host}: resolves to {found[0][4][0]}, which is no public address: refused")
    return allowed


def is_global(address: str) -> bool:
    """Whether an IP address belongs to a machine on the public internet."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    inner = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None)
    if inner is None and ip in _NAT64:
        inner = ipaddress.ip_address(int(ip) & 0xFFFFFFFF)
    if inner is not None:
        return is_global(str(inner))
    return ip.is_global and not ip.is_multicast


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
