"""Servers on loopback that the tests of fetch talk to: all context managers, all ended on exit.

`RangeServer` (COGs), `TokenServer` (Planetary Computer's signatures), `Canary` (nobody may ask it anything),
`rustac_server` (a foreign STAC API), `s3_server` (moto). The STAC API whose faults we choose is in `stac.py`.
"""

import base64
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode
from urllib.request import urlopen

from scenery.web import FAULTS, TRANSIENT, Answer, Faults, LoopbackServer, Request, forbidden

__all__ = [
    "FAULTS",
    "TRANSIENT",
    "Bucket",
    "Canary",
    "Faults",
    "RangeServer",
    "TokenServer",
    "rustac_server",
    "s3_server",
]

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_TYPES = {".tif": "image/tiff; application=geotiff; profile=cloud-optimized", ".json": "application/json"}


class RangeServer(LoopbackServer):
    """Files of a folder with byte ranges, ETag and HEAD.

    Args:
        directory: what is served; nothing outside it.
        faults: which requests go wrong.
        latency_s: wait before every answer.
        guard: says whether the query of a request signs it (`TokenServer.fresh`); others get 403.
        redirects: 302 from a path to any address.
    """

    def __init__(
        self,
        directory: Path,
        *,
        faults: Faults | None = None,
        latency_s: float = 0,
        guard: Callable[[str], bool] | None = None,
        redirects: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(faults=faults, latency_s=latency_s)
        self.directory = Path(directory).resolve()
        self.guard = guard
        self.redirects = dict(redirects or {})

    def respond(self, request: Request) -> Answer:
        """The file or the range of it, or why not."""
        if target := self.redirects.get(request.path):
            return Answer(302, headers={"Location": target})
        if self.guard and not self.guard(request.query):
            return forbidden()
        if request.method not in ("GET", "HEAD"):
            return Answer(405)
        path = (self.directory / unquote(request.path).lstrip("/")).resolve()
        if not path.is_relative_to(self.directory) or not path.is_file():
            return Answer(404, b"no such file\n")
        return self._part(path, request)

    def _part(self, path: Path, request: Request) -> Answer:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            headers = {
                "Content-Type": _TYPES.get(path.suffix, "application/octet-stream"),
                "Accept-Ranges": "bytes",
                "ETag": f'"{hashlib.md5(f"{state.st_size}-{state.st_mtime_ns}".encode()).hexdigest()}"',
                "Last-Modified": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(state.st_mtime)),
            }
            if request.method == "HEAD" and request.range is None:
                return Answer(200, b"", headers | {"Content-Length": str(state.st_size)})
            if request.range is None:
                return Answer(200, file.read(), headers)
            if request.headers.get("if-match", headers["ETag"]) not in (headers["ETag"], "*"):
                return Answer(412, b"", headers)
            span = _span(request.range, state.st_size)
            if span is None:
                return Answer(416, b"", headers | {"Content-Range": f"bytes */{state.st_size}"})
            file.seek(span[0])
            body = file.read(span[1] - span[0] + 1)
        place = {"Content-Range": f"bytes {span[0]}-{span[1]}/{state.st_size}"}
        if request.method == "HEAD":
            return Answer(206, b"", headers | place | {"Content-Length": str(len(body))})
        return Answer(206, body, headers | place)


def _span(asked: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a Range header; None where it cannot be satisfied."""
    match = _RANGE.fullmatch(asked.strip())
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if not first:
        return (max(size - int(last), 0), size - 1) if int(last) and size else None
    begin, end = int(first), min(int(last), size - 1) if last else size - 1
    return (begin, end) if begin <= end else None


@dataclass
class _Token:
    text: str
    expiry: datetime
    uses: int = 0


class TokenServer(LoopbackServer):
    """Shared access signatures as Planetary Computer hands them out.

    `GET /api/sas/v1/token/<collection>` or `.../token/<account>/<container>` answers
    `{"msft:expiry": "2026-09-30T12:45:00Z", "token": "st=...&se=...&sp=rl&sv=...&sr=c&sig=..."}`
    (shape: microsoft/planetary-computer-sdk-for-python, planetary_computer/sas.py); `/api/sas/v1/sign?href=...`
    answers the signed address. Give `fresh` to a RangeServer as its guard.

    Args:
        lifetime_s: from issue to expiry.
        uses: requests that a token is good for, whatever its expiry says; None: any number.
        expired_first: so many first tokens are expired when they are issued, as microsoft/PlanetaryComputer#463 saw.
        skew_s: how far the clock of the server that checks is ahead of the one that issues.
        faults, latency_s: as everywhere.
    """

    def __init__(
        self,
        *,
        lifetime_s: float = 2700,
        uses: int | None = None,
        expired_first: int = 0,
        skew_s: float = 0,
        faults: Faults | None = None,
        latency_s: float = 0,
    ) -> None:
        super().__init__(faults=faults, latency_s=latency_s)
        self.lifetime_s = lifetime_s
        self.uses = uses
        self.expired_first = expired_first
        self.skew_s = skew_s
        self.issued: list[_Token] = []
        self._guarding = threading.Lock()

    @property
    def token_url(self) -> str:
        """Where tokens are asked for; a collection, or an account and a container, follows."""
        return f"{self.url}/api/sas/v1/token"

    def revoke(self) -> None:
        """From now on every token issued so far is refused."""
        with self._guarding:
            for token in self.issued:
                token.expiry = datetime(2000, 1, 1, tzinfo=UTC)

    def fresh(self, query: str) -> bool:
        """Whether a query carries a signature that was issued here and still holds; counts its use."""
        now = datetime.now(UTC) + timedelta(seconds=self.skew_s)
        signed = parse_qs(query).get("sig")
        with self._guarding:
            for token in self.issued:
                if signed == parse_qs(token.text)["sig"]:
                    token.uses += 1
                    return now < token.expiry and (self.uses is None or token.uses <= self.uses)
        return False

    def respond(self, request: Request) -> Answer:
        """A new token, or an address signed with one."""
        if request.path.startswith("/api/sas/v1/token/"):
            token = self._issue()
            return Answer.json({"msft:expiry": _stamp(token.expiry), "token": token.text})
        if request.path == "/api/sas/v1/sign" and "href" in request.values:
            token = self._issue()
            href = f"{request.values['href']}?{token.text}"
            return Answer.json({"msft:expiry": _stamp(token.expiry), "href": href})
        return Answer.json({"detail": "Not Found"}, 404)

    def _issue(self) -> _Token:
        with self._guarding:
            number = len(self.issued)
            now = datetime.now(UTC).replace(microsecond=0)
            expiry = now + timedelta(seconds=self.lifetime_s)
            if number < self.expired_first:
                expiry = now - timedelta(seconds=60)
            secret = hashlib.sha256(f"CANARY-{number}-{self.port}".encode()).digest()
            fields = {
                "st": _stamp(now - timedelta(days=1)),
                "se": _stamp(expiry),
                "sp": "rl",
                "sv": "2025-07-05",
            }
            fields |= {"sr": "c", "sig": base64.b64encode(secret).decode()}
            token = _Token(urlencode(fields, quote_via=quote, safe=""), expiry)
            self.issued.append(token)
        return token


def _stamp(when: datetime) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%SZ}"


class Canary(LoopbackServer):
    """Somebody else's server: it answers everything, and `hits` must stay 0."""

    def respond(self, request: Request) -> Answer:
        """What would please any reader."""
        return Answer(200, b"canary\n", {"Content-Type": "text/plain"})


@contextmanager
def rustac_server(
    collection: Mapping[str, Any], items: Sequence[Mapping[str, Any]], folder: Path
) -> Iterator[str]:
    """Address of `rustac serve` over a collection and its items, a STAC API that nobody here wrote.

    It neither knows the query extension nor hands out more than it is asked for.

    Args:
        collection: as published; `scenery.items.collection()` makes one.
        items: each names the collection.
        folder: a scratch folder for what the server reads.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "collection.json").write_text(json.dumps(collection))
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
    port = _free_port()
    rustac = Path(sys.executable).with_name("rustac")
    command = [
        rustac,
        "serve",
        "--addr",
        f"127.0.0.1:{port}",
        folder / "collection.json",
        folder / "items.json",
    ]
    with (
        (folder / "rustac.log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        try:
            _await(f"http://127.0.0.1:{port}/", process, folder / "rustac.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        try:
            with urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"rustac did not answer: {log.read_text()[-2000:]}")


@dataclass(frozen=True)
class Bucket:
    """A bucket of an S3 server."""

    url: str
    """Of the server."""
    name: str
    """Of the bucket."""

    def href(self, key: str) -> str:
        """s3:// address of an object."""
        return f"s3://{self.name}/{key}"

    @property
    def env(self) -> dict[str, str]:
        """What a program needs in its environment to read the bucket."""
        return {
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": "CANARYKEY",
            "AWS_SECRET_ACCESS_KEY": "CANARY-secret",
            "AWS_DEFAULT_REGION": "us-west-2",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }


@contextmanager
def s3_server(directory: Path, monkeypatch: Any, bucket: str = "sentinel-cogs") -> Iterator[Bucket]:
    """moto with every file of a folder in a bucket; the environment of this process points to it.

    Args:
        directory: keys are paths within it.
        monkeypatch: pytest's.
        bucket: name.
    """
    from botocore.session import Session
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        place = Bucket(f"http://{host}:{port}", bucket)
        urlopen(f"{place.url}/moto-api/reset", data=b"").close()  # moto keeps buckets as long as the process
        for name, value in place.env.items():
            monkeypatch.setenv(name, value)
        client = Session().create_client("s3", endpoint_url=place.url, region_name="us-west-2")
        try:
            client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
            for path in sorted(path for path in Path(directory).rglob("*") if path.is_file()):
                key = path.relative_to(directory).as_posix()
                client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
        finally:
            client.close()
        yield place
    finally:
        server.stop()
        if server._server:
            server._server.server_close()
