"""Signatures: addresses are stored without, and signed each time they are asked for.

Planetary Computer hands out tokens that hold for some 45 minutes, sometimes expired ones (microsoft/PlanetaryComputer
#463); `s3://` addresses are signed here, with the user's own keys. One renewal serves all threads.
"""

import logging
import os
import re
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from isamap.domain.sources import Source
from isamap.errors import ConfigError, InputError, IsamapError, RemoteError
from isamap.io.http import Client, Signer, shown

log = logging.getLogger(__name__)

RENEW_S = 60.0
"""Tokens are renewed so long before they expire."""
TOKEN_TRIES, TOKEN_WAIT_S = 5, 0.5
"""How often an expired token is handed back for another one, and the wait before the second try (it doubles)."""
REFUSED_S = 2.0
"""A token that was fetched less than so long ago is not renewed because a server refuses it: the server may mean
`too many requests`."""
TOKEN_BYTES = 1 << 16
PRESIGNED_S = 3600
_TOKEN = re.compile(r"[!-~]{1,2048}", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,120}", re.ASCII)


class Unsigned:
    """The address as it is stored."""

    def sign(self, href: str) -> str:
        """The same address."""
        return href

    def refused(self, url: str) -> None:
        """Nothing can be renewed."""


@dataclass(frozen=True)
class _Token:
    text: str
    """Query string without `?`."""
    fetched: float
    """time.monotonic() when it came."""
    renew: float
    """time.monotonic() from when on another one is fetched."""


class SasTokens:
    """Shared access signatures, one for each collection or container."""

    def __init__(self, source: Source, client: Client, collection: str, wait_s: float = TOKEN_WAIT_S) -> None:
        self._url = source.token_url
        self._client = client
        self._collection = collection
        self._wait_s = wait_s
        self._tokens: dict[str, _Token] = {}
        self._failed: dict[str, tuple[float, IsamapError]] = {}
        self._lock = threading.Lock()
        self.renewals = 0
        """Tokens fetched so far."""

    def sign(self, href: str) -> str:
        """The address with a token that holds for another minute."""
        address, arrived = self._address(href), time.monotonic()
        with self._lock:  # one thread fetches, the others wait for what it gets
            token = self._tokens.get(address)
            if token is None or time.monotonic() >= token.renew:
                failed = self._failed.get(address)
                if failed and failed[0] > arrived:
                    raise failed[1]
                token = self._renew(address)
        return f"{href.partition('?')[0]}?{token.text}"

    def refused(self, url: str) -> None:
        """Fetch a new token next time, unless another thread did already or this one is brand-new."""
        href, _, query = url.partition("?")
        address = self._address(href)
        with self._lock:
            token = self._tokens.get(address)
            if token and token.text == query and time.monotonic() - token.fetched >= REFUSED_S:
                del self._tokens[address]

    def _renew(self, address: str) -> _Token:
        try:
            token = self._fetch(address)
        except IsamapError as error:
            self._failed[address] = (time.monotonic(), error)
            raise
        self._tokens[address] = token
        return token

    def _address(self, href: str) -> str:
        parts = urlsplit(href)
        names = {
            "collection": self._collection,
            "account": (parts.hostname or "").partition(".")[0],
            "container": parts.path.lstrip("/").partition("/")[0],
        }
        address = self._url
        for name, value in names.items():
            if f"{{{name}}}" in address and _PLAIN.fullmatch(value) is None:
                raise InputError(f"{shown(href)}: tells no {name} to sign for")
            address = address.replace(f"{{{name}}}", value)
        return address

    def _fetch(self, address: str) -> _Token:
        until = time.monotonic() + self._client.limits.total_s / 2
        for attempt in range(TOKEN_TRIES):
            if attempt:
                self._client.sleep(self._wait_s * 2 ** (attempt - 1))
            if time.monotonic() > until:
                break
            document, answer = self._client.get_json(address, TOKEN_BYTES)
            text, expiry = _read(document, address)
            # Against the clock that set the expiry, not against ours, which may be minutes off.
            left_s = expiry.timestamp() - (time.time() if answer.date is None else answer.date)
            self.renewals += 1
            if left_s > 1:
                now = time.monotonic()
                return _Token(text, now, now + max(left_s - RENEW_S, left_s / 2))
            log.debug("%s: handed out a token that is expired", shown(address))
        raise RemoteError(
            f"{shown(address)}: handed out expired tokens only: try again later, or take another --source"
        )


def _read(document: Any, address: str) -> tuple[str, datetime]:
    """Token and its expiry."""
    document = document if isinstance(document, dict) else {}
    token, when = str(document.get("token")), str(document.get("msft:expiry"))
    try:
        expiry = datetime.fromisoformat(when)
        expiry = expiry if expiry.tzinfo else expiry.replace(tzinfo=UTC)
        if _TOKEN.fullmatch(token) and parse_qs(token, strict_parsing=True):
            return token, expiry
    except ValueError:
        pass
    raise RemoteError(f"{shown(address)}: sent no token: is that the address of Planetary Computer's tokens?")


class Presigned:
    """`s3://` addresses signed with the user's keys; others as they are."""

    def __init__(self, source: Source, endpoint: str) -> None:
        self._endpoint = endpoint
        self._name = source.name
        self._client: Any = None
        self._lock = threading.Lock()

    def sign(self, href: str) -> str:
        """An https address that holds for an hour."""
        if not href.startswith("s3://"):
            return href
        bucket, _, key = href.removeprefix("s3://").partition("/")
        with self._lock:
            if self._client is None:
                self._client = _s3_client(self._endpoint)
            return _presign(self._client, bucket, key)

    def refused(self, url: str) -> None:
        """Keys may have been replaced: read them again."""
        if "X-Amz-Signature=" in url:
            with self._lock:
                self._client = None


def _s3_client(endpoint: str) -> Any:
    try:
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.session import Session
    except ImportError as error:
        raise ConfigError(
            "s3:// addresses need botocore: install it with pip install 'isamap[s3]'"
        ) from error
    _hush()
    unsigned = os.environ.get("AWS_NO_SIGN_REQUEST", "").upper() in ("YES", "TRUE", "1")
    config = Config(
        signature_version=UNSIGNED if unsigned else "s3v4",
        s3={"addressing_style": "path" if endpoint else "virtual"},
    )
    session = Session()
    region = session.get_config_variable("region") or "us-east-1"
    return session.create_client("s3", endpoint_url=endpoint or None, region_name=region, config=config)


def _presign(client: Any, bucket: str, key: str) -> str:
    from botocore.exceptions import BotoCoreError

    try:
        url: str = client.generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=PRESIGNED_S
        )
    except BotoCoreError as error:
        raise ConfigError(
            f"s3://{bucket}: cannot be signed ({type(error).__name__}): set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_NO_SIGN_REQUEST=YES for public files"
        ) from error
    return url


class _Silent(logging.Filter):
    """Drops what botocore says while it signs: it spells out credentials."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.DEBUG


_SILENT = _Silent()


def _hush() -> None:
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "botocore":
            logging.getLogger(name).addFilter(_SILENT)


def user_endpoint() -> str:
    """Address of the user's own S3 server; empty for none."""
    return (os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "").rstrip("/")


def s3_endpoint(source: Source) -> str:
    """Address of the S3 server that a source is read from; empty for Amazon's."""
    own = user_endpoint()
    return own or (f"https://{source.hosts[0]}" if source.hosts and "*" not in source.hosts[0] else "")


class Signers:
    """The signer of each collection of a source; made when it is needed."""

    def __init__(self, source: Source, client: Client) -> None:
        self._source = source
        self._client = client
        self._made: dict[str, Signer] = {}
        self._lock = threading.Lock()

    def of(self, collection: str) -> Signer:
        """Signer of a collection's addresses."""
        with self._lock:
            if collection not in self._made:
                self._made[collection] = self._make(collection)
            return self._made[collection]

    def _make(self, collection: str) -> Signer:
        match self._source.signing:
            case "planetary-computer":
                return SasTokens(self._source, self._client, collection)
            case "s3":
                return Presigned(self._source, s3_endpoint(self._source))
        return Unsigned()
