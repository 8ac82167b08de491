"""The pages of one STAC search, followed as long as they lead anywhere."""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urljoin

from isamap.domain.sources import Source
from isamap.errors import BusyError, InputError, RemoteError
from isamap.io.http import Client, Refused, shown
from isamap.io.pace import Clock, Haste

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchLimits:
    """What a catalogue may send for one search."""

    page_items: int = 100
    """Asked for; a catalogue may send fewer or more."""
    small_page_items: int = 20
    """Asked for when it fails to answer with so many."""
    pages: int = 200
    """Of one search."""
    idle_pages: int = 3
    """In a row without an item that was not seen before."""
    items: int = 20_000
    """Of one search."""
    page_bytes: int = 16 << 20
    """Of one page."""
    total_bytes: int = 256 << 20
    """Of one search."""
    total_s: float = 115.0
    """One search, all pages and collections."""
    haste: Haste | None = None
    """How soon a catalogue that sends nothing is given up; None: as late as any other server."""


@dataclass(frozen=True)
class _Ask:
    """One request for a page."""

    url: str
    """With its query if it is a GET."""
    body: Mapping[str, Any] | None
    """What is posted; None for a GET."""

    @property
    def key(self) -> str:
        """Equal for equal requests."""
        return json.dumps([self.url, self.body], sort_keys=True)


class Pages:
    """Searches one catalogue. All searches of one object share its time and bytes."""

    def __init__(self, source: Source, client: Client, limits: SearchLimits) -> None:
        self._source = source
        self._client = client
        self._limits = limits
        self._until = time.monotonic() + limits.total_s
        self._bytes = 0
        self._haste = limits.haste

    @property
    def left_s(self) -> float:
        """Seconds that are left for further pages."""
        return self._until - time.monotonic()

    def items(self, asked: Mapping[str, Any], page_items: int) -> Iterator[dict[str, Any]]:
        """Items of a search as they come, some perhaps twice.

        Args:
            asked: collections, bbox, datetime.
            page_items: so many on a page.

        Raises:
            RemoteError: the catalogue refuses, goes in circles, or sends too much, or no items.
            Unanswered: it sends nothing.
            BusyError: it does not answer properly.
        """
        limits = self._limits
        ask: _Ask | None = self._first(asked, page_items, "POST")
        seen: set[str] = set()
        known: set[str] = set()
        idle = 0
        while ask:
            if ask.key in seen:
                raise self._fault("goes in circles: its next page is one that was read already")
            if len(seen) >= limits.pages or len(known) > limits.items:
                raise self._fault(f"does not end after {len(seen)} pages and {len(known)} items")
            seen.add(ask.key)
            try:
                page = self._page(ask)
            except Refused as refused:
                if len(seen) > 1 or refused.status not in (404, 405, 501) or ask.body is None:
                    raise
                ask = self._first(asked, page_items, "GET")
                continue
            before = len(known)
            for feature in page["features"]:
                if not isinstance(feature, dict):
                    log.warning("%s: an item is %s: left out", self._source.name, type(feature).__name__)
                    continue
                known.add(f"{feature.get('collection')}/{feature.get('id')}"[:400])
                yield feature
            idle = idle + 1 if len(known) == before else 0
            ask = self._next(page, ask)
            if ask and idle >= limits.idle_pages:
                raise self._fault(f"has more and more pages, but nothing new on the last {idle}")

    def _first(self, asked: Mapping[str, Any], page_items: int, method: str) -> _Ask:
        from pystac_client import ItemSearch  # writes parameters as POST and GET want them

        url = f"{self._source.url}/search"
        search = ItemSearch(url, method=method, limit=page_items, **asked)
        parameters = search.get_parameters()
        return _Ask(url, parameters) if method == "POST" else _Ask(f"{url}?{urlencode(parameters)}", None)

    def _page(self, ask: _Ask) -> dict[str, Any]:
        if self.left_s <= 0:
            raise BusyError(
                f"{self._source.name}: the search took more than {self._limits.total_s:.0f} s: try again later"
            )
        clock = Clock(min(self.left_s, self._client.limits.total_s), self._haste)
        page, answer = self._client.get_json(ask.url, self._limits.page_bytes, ask.body, clock)
        self._haste = None  # it is there
        self._bytes += len(answer.body)
        if self._bytes > self._limits.total_bytes:
            raise self._fault(f"sends more than {self._limits.total_bytes >> 20} MB for one search")
        if not isinstance(page, dict) or not isinstance(page.get("features"), list):
            raise self._fault("answers a search with something that is no list of items: is it a STAC API?")
        return page

    def _next(self, page: Mapping[str, Any], ask: _Ask) -> _Ask | None:
        """What the page says to ask for next."""
        links = page.get("links")
        link = next((one for one in links if _is_next(one)), None) if isinstance(links, list) else None
        if link is None:
            return None
        url = urljoin(ask.url, link["href"])
        if self._source.url.startswith("https:") and url.startswith("http:"):
            url = f"https{url[4:]}"  # servers behind a proxy do not know that they speak https
        try:
            self._client.policy.check(url)
        except InputError as error:
            raise self._fault(f"has its next page where nothing is asked: {error}") from error
        if str(link.get("method", "GET")).upper() != "POST":
            return _Ask(url, None)
        body = link.get("body")
        body = body if isinstance(body, dict) else {}
        return _Ask(url, {**(ask.body or {}), **body} if link.get("merge") else body or ask.body or {})

    def _fault(self, text: str) -> RemoteError:
        return RemoteError(f"{shown(self._source.url)}: {text}")


def _is_next(link: Any) -> bool:
    return isinstance(link, dict) and link.get("rel") == "next" and isinstance(link.get("href"), str)
