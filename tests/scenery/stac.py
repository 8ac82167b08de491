"""A STAC API whose every manner we choose: stac-fastapi in memory behind uvicorn, faults and a log in front of it.

    with StacApp(items, faults=Faults.share(0.2)) as api:
        ... api.url, api.requests, api.struck
    with StacApp(items, manner="self-next") as api: ...
    with StacApp(directory=made.folder) as api:  # catalogue and pixels at one address
        api.publish(made.items("sentinel-2-c1-l2a", api.url))

It knows the query extension, GET and POST search, paging by token, and is honest unless told otherwise.
"""

import http.client
import json
import random
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Self

import attr
import uvicorn
from fastapi import FastAPI, HTTPException, Query
from scenery.items import collection
from scenery.servers import RangeServer
from scenery.web import Answer, Faults, Request
from stac_fastapi.api.app import StacApi
from stac_fastapi.types.config import ApiSettings
from stac_fastapi.types.core import BaseCoreClient
from stac_fastapi.types.extension import ApiExtension
from stac_fastapi.types.search import BaseSearchGetRequest, BaseSearchPostRequest

MANNERS = (
    "honest",
    "ignores-query",  # as rustac, and as servers without the extension do
    "self-next",  # the next link is the page itself
    "endless",  # every page has a next one, with items that nobody saw before
    "endless-same",  # every page has a next one, with the same items
    "empty-next",  # pages without items, each with a next one
    "next-elsewhere",  # the next link is another server's: `elsewhere`
    "redirects",  # every search is sent to `elsewhere`
    "huge-strings",  # every item carries a string of 10 MB
    "duplicates",  # every item comes twice, pages in shuffled order
    "not-json",  # half a document
    "nested",  # JSON so deep that a recursive reader falls over
    "no-features",  # a document that is no item collection
)
HUGE = 10_000_000


@attr.s
class _QueryGet(BaseSearchGetRequest):
    query: Annotated[str | None, Query()] = attr.ib(default=None)
    token: Annotated[str | None, Query()] = attr.ib(default=None)


class _QueryPost(BaseSearchPostRequest):
    query: dict[str, dict[str, Any]] | None = None
    token: str | None = None


@attr.s
class QueryExtension(ApiExtension):
    """Announces the query extension; the models above carry it."""

    conformance_classes: list[str] = attr.ib(
        factory=lambda: ["https://api.stacspec.org/v1.0.0/item-search#query"]
    )

    def register(self, app: FastAPI) -> None:
        """No routes of its own."""


@attr.s
class _Catalogue(BaseCoreClient):
    """Items in memory. Held behind one lock: it is small, and order must be the same on every page."""

    items: Sequence[Mapping[str, Any]] = attr.ib(factory=list)
    manner: str = attr.ib(default="honest")
    elsewhere: str = attr.ib(default="")
    most: int = attr.ib(default=100)
    seed: int | None = attr.ib(default=None)

    def post_search(self, search_request: Any, **kwargs: Any) -> Any:
        asked = search_request.model_dump(exclude_none=True, mode="json")
        return self._search(asked, kwargs["request"])

    def get_search(self, **kwargs: Any) -> Any:
        request = kwargs.pop("request")
        asked = {key: value for key, value in kwargs.items() if value is not None}
        if isinstance(asked.get("query"), str):
            asked["query"] = json.loads(asked["query"])
        return self._search(asked, request)

    def get_item(self, item_id: str, collection_id: str, **kwargs: Any) -> Any:
        for item in self.items:
            if (item.get("id"), item.get("collection")) == (item_id, collection_id):
                return item
        raise HTTPException(404, f"no item {item_id}")

    def all_collections(self, **kwargs: Any) -> Any:
        names = sorted({str(item.get("collection")) for item in self.items})
        return {"collections": [collection(name) for name in names], "links": []}

    def get_collection(self, collection_id: str, **kwargs: Any) -> Any:
        return collection(collection_id)

    def item_collection(self, collection_id: str, **kwargs: Any) -> Any:
        request = kwargs.pop("request")
        asked = {key: value for key, value in kwargs.items() if value is not None}
        return self._search(asked | {"collections": [collection_id]}, request)

    def _search(self, asked: dict[str, Any], request: Any) -> Any:
        found = self._matching(asked)
        size = min(int(asked.get("limit") or 10), self.most)
        begin = int(str(asked.get("token") or "0").removeprefix("next:"))
        page = self._page(found, begin, size)
        following = begin + size
        more = following < len(found) or self.manner in ("endless", "endless-same", "empty-next", "self-next")
        links = [{"rel": "root", "type": "application/json", "href": str(request.base_url)}]
        if more or (self.manner == "next-elsewhere" and begin == 0):
            links.append(self._next(asked, begin if self.manner == "self-next" else following, request))
        return {
            "type": "FeatureCollection",
            "features": page,
            "links": links,
            "numberReturned": len(page),
            "numberMatched": len(found),
            "context": {"returned": len(page), "limit": size, "matched": len(found)},
        }

    def _matching(self, asked: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        found = [item for item in self.items if _matches(item, asked, query=self.manner != "ignores-query")]
        found.sort(key=lambda item: str((item.get("properties") or {}).get("datetime")), reverse=True)
        if self.manner == "duplicates":
            found = [*found, *found]
        if self.seed is not None:
            random.Random(self.seed).shuffle(found)
        return found

    def _page(self, found: Sequence[Mapping[str, Any]], begin: int, size: int) -> list[Mapping[str, Any]]:
        if self.manner == "endless":
            return [
                {**found[k % len(found)], "id": f"{found[k % len(found)]['id']}-{k}"}
                for k in range(begin, begin + size)
            ]
        if self.manner in ("endless-same", "self-next"):
            return list(found[:size])
        if self.manner == "empty-next":
            return []
        page = list(found[begin : begin + size])
        if self.manner == "huge-strings":
            return [
                {**item, "properties": {**item["properties"], "s2:product_uri": "A" * HUGE}} for item in page
            ]
        return page

    def _next(self, asked: Mapping[str, Any], begin: int, request: Any) -> dict[str, Any]:
        url = self.elsewhere if self.manner == "next-elsewhere" else str(request.url).partition("?")[0]
        link = {"rel": "next", "type": "application/geo+json", "method": request.method, "href": url}
        if request.method == "POST":
            return link | {"body": {**asked, "token": f"next:{begin}"}, "merge": False}
        return link | {
            "href": str(request.url.include_query_params(token=f"next:{begin}")).replace(*_swap(request, url))
        }


def _swap(request: Any, url: str) -> tuple[str, str]:
    return str(request.url).partition("?")[0], url


def _matches(item: Mapping[str, Any], asked: Mapping[str, Any], *, query: bool) -> bool:
    properties = item.get("properties") or {}
    wanted: Sequence[str] | None = asked.get("collections")
    if wanted and item.get("collection") not in wanted:
        return False
    if asked.get("ids") and item.get("id") not in asked["ids"]:
        return False
    if asked.get("bbox") and not _meets(item.get("bbox"), asked["bbox"]):
        return False
    if asked.get("datetime") and not _within(str(properties.get("datetime")), str(asked["datetime"])):
        return False
    return not query or all(
        _holds(properties.get(name), operator, value)
        for name, rules in (asked.get("query") or {}).items()
        for operator, value in rules.items()
    )


def _meets(one: Any, other: Sequence[float]) -> bool:
    if not isinstance(one, list | tuple) or len(one) != 4:
        return True  # an item without a place is anywhere: what hostile catalogues hand out
    west, south, east, north = one
    return not (east < other[0] or west > other[2] or north < other[1] or south > other[3])


def _within(when: str, span: str) -> bool:
    begin, _, end = span.partition("/")
    try:
        moment = _moment(when)
    except ValueError:
        return True
    first = None if begin in ("", "..") else _moment(begin)
    last = first if not _ else None if end in ("", "..") else _moment(end)
    return (first is None or moment >= first) and (last is None or moment <= last)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _holds(value: Any, operator: str, other: Any) -> bool:
    if value is None:
        return False
    rules = {"eq": value == other, "neq": value != other, "in": isinstance(other, list) and value in other}
    if operator in rules:
        return rules[operator]
    compared = {"lt": value < other, "lte": value <= other, "gt": value > other, "gte": value >= other}
    return compared[operator]


class StacApp(RangeServer):
    """The API: its own log and faults in front (`web.py`), stac-fastapi behind.

    Args:
        items: raw items, of any number of collections.
        directory: files of this folder are served too, as a RangeServer does.
        manner: one of MANNERS.
        elsewhere: the other server's address, for manners that name one.
        most: items a page has at most, whatever is asked.
        seed: shuffles the order of results; None: newest first, as Earth Search does.
        faults, latency_s: as everywhere.
    """

    def __init__(
        self,
        items: Sequence[Mapping[str, Any]] = (),
        *,
        directory: Path | None = None,
        manner: str = "honest",
        elsewhere: str = "",
        most: int = 100,
        seed: int | None = None,
        faults: Faults | None = None,
        latency_s: float = 0,
    ) -> None:
        super().__init__(directory or Path("/nowhere"), faults=faults, latency_s=latency_s)
        if manner not in MANNERS:
            raise ValueError(f"{manner}: one of {', '.join(MANNERS)}")
        if manner == "duplicates" and seed is None:
            seed = 0
        self.catalogue = _Catalogue(
            items=list(items), manner=manner, elsewhere=elsewhere, most=most, seed=seed
        )
        self.catalogue.extensions = [QueryExtension()]

    def __enter__(self) -> Self:
        settings = ApiSettings(
            stac_fastapi_title="scenery",
            stac_fastapi_description="scenes on loopback",
            stac_fastapi_landing_id="scenery",
            stac_fastapi_version="1",
        )
        api = StacApi(
            settings=settings,
            client=self.catalogue,
            extensions=self.catalogue.extensions,
            search_get_request_model=_QueryGet,
            search_post_request_model=_QueryPost,
        )
        config = uvicorn.Config(
            api.app, http="h11", ws="none", loop="asyncio", lifespan="off", log_config=None, access_log=False
        )
        self._uvicorn = uvicorn.Server(config)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._behind = threading.Thread(target=self._uvicorn.run, args=([self._socket],), name="scenery-stac")
        self._behind.start()
        until = time.monotonic() + 30
        while not self._uvicorn.started and time.monotonic() < until:
            time.sleep(0.01)
        return super().__enter__()

    def __exit__(self, *exit_: object) -> None:
        try:
            super().__exit__(*exit_)
        finally:
            self._uvicorn.should_exit = True
            self._behind.join()
            self._socket.close()

    def publish(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Add items to the catalogue."""
        self.catalogue.items = [*self.catalogue.items, *items]

    @property
    def searches(self) -> list[dict[str, Any]]:
        """What each search asked, oldest first."""
        return [
            json.loads(request.body) if request.method == "POST" else dict(request.values)
            for request in self.requests
            if request.path == "/search"
        ]

    def respond(self, request: Request) -> Answer:
        """stac-fastapi's answer, or the hostile one; or a file."""
        if request.path.endswith((".tif", ".vrt", ".json")):
            return super().respond(request)
        if request.path == "/search" and (odd := self._odd()):
            return odd
        connection = http.client.HTTPConnection(*self._socket.getsockname(), timeout=60)
        passed = {
            name: request.headers[name]
            for name in ("host", "accept", "content-type")
            if name in request.headers
        }
        target = f"{request.path}?{request.query}" if request.query else request.path
        try:
            connection.request(request.method, target, request.body or None, passed | {"Connection": "close"})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        kind = answer.getheader("Content-Type") or "application/json"
        return Answer(answer.status, body, {"Content-Type": kind})

    def _odd(self) -> Answer | None:
        kind = {"Content-Type": "application/geo+json"}
        match self.catalogue.manner:
            case "redirects":
                return Answer(307, headers={"Location": self.catalogue.elsewhere})
            case "not-json":
                return Answer(200, b'{"type": "FeatureCollection", "features": [{"id": "S2A', kind)
            case "nested":
                return Answer(200, b'{"features": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", kind)
            case "no-features":
                return Answer(200, b'{"type": "Feature", "features": {"0": null}}', kind)
        return None
