"""Table of catalogues."""

import pytest

from isamap.domain.sources import BANDS, DEFAULT, SCL, SOURCES, source_of
from isamap.errors import ConfigError


def test_every_row_is_complete():
    for name, row in SOURCES.items():
        assert row.name == name
        assert row.url.startswith("https://")
        assert not row.url.endswith("/")
        assert row.collections
        assert row.hosts
        assert not any("/" in host or host.startswith("*.amazonaws") for host in row.hosts)
        assert set(row.assets) == {*BANDS, SCL}
        assert "{year}" in row.attribution
        assert row.licence
        assert row.requests_per_s > 0
    assert set(DEFAULT) <= set(SOURCES)


def test_names_are_found_in_any_spelling():
    assert source_of(" Earth_Search-C1 ") is SOURCES["earth-search-c1"]


def test_any_address_is_a_source_of_its_own_that_is_doubted():
    row = source_of("http://127.0.0.1:8080/stac/#my-scenes,more")
    assert (row.url, row.collections) == ("http://127.0.0.1:8080/stac", ("my-scenes", "more"))
    assert row.hosts == ()
    assert row.offset == "declared"
    assert source_of("https://stac.example.org").collections == ("sentinel-2-l2a",)


def test_the_address_of_a_known_catalogue_brings_its_row():
    assert source_of("https://earth-search.aws.element84.com/v1/") is SOURCES["earth-search-c1"]
    assert source_of("https://earth-search.aws.element84.com/v1#sentinel-2-l2a") is SOURCES["earth-search"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "earthsearch2",
        "ftp://host/stac",
        "file:///etc/passwd",
        "https://user:secret@host/stac",
        "https://host/stac?token=secret",
        "https://",
        "https://host/a b",
        "https://host/" + "a" * 3000,
        "https://host/\nX: y",
        "//host/stac",
    ],
)
def test_anything_else_is_refused_in_one_short_line(text):
    with pytest.raises(ConfigError) as refusal:
        source_of(text)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400
