"""Connections: dialled to checked addresses only, cut when their time is over, silent about signatures.

urllib3 speaks HTTP and TLS and keeps connections; what may be dialled and for how long is decided here. Its own
retries and redirects are off: the client owns them (http.py).
"""

import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from isamap.errors import ConfigError
from isamap.io.hosts import Place, addresses, shown

MAX_ADDRESSES = 4
"""Of one name that are tried."""
TICK_S = 0.1
"""How often the clock of running calls is looked at."""


@dataclass(eq=False)
class Call:
    """One request on its way."""

    place: Place
    """Where it goes."""
    until: float
    """time.monotonic() at which it is cut."""
    proxied: bool = False
    """Whether it is a proxy that is dialled: then the proxy decides what may be reached."""
    cut: bool = False
    """Whether its time was over."""
    reached: bool = False
    """Whether it has a connection."""
    connection: Any = field(default=None, repr=False)
    """The one in use."""

    def end(self) -> None:
        """Shut the connection, so that whoever waits for it wakes up."""
        self.cut = True
        handle = getattr(self.connection, "handle", None)
        if handle is not None:
            with suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)


class Watch:
    """Cuts calls whose time is over.

    A socket time-out is for one read: a server that sends a byte now and then, in its TLS handshake, its header or
    its body, never meets it.
    """

    def __init__(self) -> None:
        self._calls: set[Call] = set()
        self._lock = threading.Lock()
        self._running = False
        self._closed = False

    @contextmanager
    def over(self, call: Call) -> Iterator[None]:
        """Watch a call of this thread."""
        with self._lock:
            self._calls.add(call)
            if self._closed:
                call.end()
            elif not self._running:
                self._running = True
                threading.Thread(target=self._run, name="isamap-watch", daemon=True).start()
        _local.call = call
        try:
            yield
        finally:
            _local.call = None
            with self._lock:
                self._calls.discard(call)

    def close(self) -> None:
        """Cut every call, and those to come."""
        with self._lock:
            self._closed = True
            for call in self._calls:
                call.end()

    def _run(self) -> None:
        while True:
            time.sleep(TICK_S)
            now = time.monotonic()
            with self._lock:
                for call in self._calls:
                    if call.until < now:
                        call.end()
                if not self._calls:
                    self._running = False
                    return


_local = threading.local()
"""`call`: what this thread is asking for."""


class _Watched:
    """What both kinds of connections add to urllib3's."""

    handle: socket.socket | None = None
    """The connection once more: TLS takes the first one away for the time of its handshake."""

    def _new_conn(self) -> socket.socket:  # urllib3 dials here, before TLS and before a byte is sent
        call: Call = _local.call
        self._drop()
        call.connection = self
        own: Any = self
        found = addresses(own.host, own.port, named=call.place.named or call.proxied)
        sock = _dial(found, own.timeout, call.until)
        self.handle, call.reached = sock.dup(), True
        if call.cut:
            call.end()
        return sock

    def request(self, *args: Any, **kwargs: Any) -> None:
        call: Call = _local.call
        call.connection, call.reached = self, self.handle is not None  # a kept one, or none yet
        super().request(*args, **kwargs)  # type: ignore[misc]  # of the class it is mixed into

    def close(self) -> None:
        super().close()  # type: ignore[misc]
        self._drop()

    def _drop(self) -> None:
        handle, self.handle = self.handle, None
        if handle is not None:
            handle.close()


def _dial(found: list[Any], timeout_s: float, until: float) -> socket.socket:
    fault = OSError("no address")
    for family, kind, protocol, _, address in found[:MAX_ADDRESSES]:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(max(0.01, min(timeout_s, until - time.monotonic())))
            sock.connect(address)
        except OSError as error:
            sock.close()
            fault = error
        else:
            return sock
    raise fault


class _Plain(_Watched, HTTPConnection):
    """http."""


class _Secure(_Watched, HTTPSConnection):
    """https."""


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Secure


class Pools:
    """Connections to every server, kept for the next request; HTTPS_PROXY and NO_PROXY are honoured."""

    def __init__(self, connections: int) -> None:
        options: dict[str, Any] = {"maxsize": connections, "block": False, "ssl_context": _tls()}
        self._direct = _with_own_pools(urllib3.PoolManager(**options))
        self._proxied: urllib3.PoolManager | None = None
        if proxy := getproxies().get("https"):
            self._proxied = _with_own_pools(_proxy_manager(proxy, options))

    def send(
        self, call: Call, method: str, body: bytes | None, headers: dict[str, str], timeout: urllib3.Timeout
    ) -> urllib3.BaseHTTPResponse:
        """The answer's head; its body is still to be read."""
        place = call.place
        parts = urlsplit(place.url)
        manager = self._direct
        if self._proxied and parts.scheme == "https" and not _is_near(place.host):
            manager, call.proxied = self._proxied, True
        pool = manager.connection_from_host(place.host, place.port, parts.scheme)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return pool.urlopen(
            method,
            target,
            body=body,
            headers=headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=timeout,
            preload_content=False,
            decode_content=False,
        )

    def close(self) -> None:
        """Close what nobody uses, now and not when somebody collects garbage."""
        for manager in (self._direct, self._proxied):
            for key in manager.pools.keys() if manager else ():
                if manager and (pool := manager.pools.get(key)):
                    pool.close()


def _with_own_pools(manager: urllib3.PoolManager) -> urllib3.PoolManager:
    manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
    return manager


def _proxy_manager(proxy: str, options: dict[str, Any]) -> urllib3.PoolManager:
    url = proxy if "://" in proxy else f"http://{proxy}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"HTTPS_PROXY {shown(url)} is no http(s) address: correct or unset it")
    login = f"{parts.username}:{parts.password or ''}" if parts.username else None
    headers = urllib3.make_headers(proxy_basic_auth=login) if login else None
    bare = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return urllib3.ProxyManager(bare, proxy_headers=headers, **options)


def _is_near(host: str) -> bool:
    """Whether a host is asked without proxy."""
    try:
        loopback = ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    return loopback or bool(proxy_bypass(host))


def _tls() -> ssl.SSLContext:
    """Certificates are checked against the user's bundle, as requests and curl name it, or Mozilla's."""
    bundle = next((os.environ[name] for name in _BUNDLES if os.environ.get(name)), certifi.where())
    try:
        context = ssl.create_default_context(cafile=bundle)
    except OSError as error:
        raise ConfigError(
            f"{bundle}: cannot be read as certificates ({error}): correct {_BUNDLES[0]}"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


_BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class _Discreet(logging.Filter):
    """Takes queries out of others' log lines, where signatures are."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(shown(one) if "?" in str(one) else one for one in record.args)
        return True


for _name in ("connection", "connectionpool", "poolmanager", "response", "util.retry"):
    logging.getLogger(f"urllib3.{_name}").addFilter(_Discreet())
