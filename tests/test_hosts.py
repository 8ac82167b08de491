"""Where requests may go."""

import socket
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isamap.domain.sources import SOURCES, source_of
from isamap.errors import ConfigError, InputError
from isamap.io import hosts
from isamap.io.hosts import Policy, addresses, is_global, policy_of, shown

EARTH = policy_of(SOURCES["earth-search"])
OWN = policy_of(source_of("http://127.0.0.1:8000"))


@pytest.mark.parametrize(
    "url",
    [
        "https://earth-search.aws.element84.com/v1/search?token=next:7",
        "https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs/48/R/XU/B02.tif",
        "https://SENTINEL-COGS.s3.us-west-2.amazonaws.com:443/x",
    ],
)
def test_a_known_source_is_asked_over_https_at_its_own_hosts(url):
    place = EARTH.check(url)
    assert (place.port, place.named) == (443, False)
    assert place.server == f"{place.host}:443"


@pytest.mark.parametrize(
    "url",
    [
        "http://sentinel-cogs.s3.us-west-2.amazonaws.com/x",
        "https://sentinel-cogs.s3.us-west-2.amazonaws.com:8443/x",
        "https://sentinel-cogs.s3.us-west-2.amazonaws.com.evil.example/x",
        "https://evil-sentinel-cogs.s3.us-west-2.amazonaws.com/x",
        "https://sentinel-cogs.s3.us-west-2.amazonaws.com@evil.example/x",
        "https://user:hush@sentinel-cogs.s3.us-west-2.amazonaws.com/x",
        "https://sentinel-cogs.s3.us-west-2.amazonaws.com\\@evil.example/x",
        "https://evil.example\\.sentinel-cogs.s3.us-west-2.amazonaws.com/x",
        "https://evil.example#.sentinel-cogs.s3.us-west-2.amazonaws.com/x",
        "https://sentinel-cogs.s3.us-west-2.amazonaws.com/\r\nHost: evil.example",
        "https://sentinel-cogs.s3.us-west-2.amazonaws.com /x",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://169.254.169.254/latest/meta-data/",
        "https://sentinel-cogs.s3.us-west-2.amazonaws.com:99999/x",
        "https:///x",
        "https:sentinel-cogs.s3.us-west-2.amazonaws.com/x",
        "https://sentinel-cogs.s3.us-west-2.amazonaws.com/" + "A" * 10_000_000,
        "file:///etc/passwd",
        "/etc/passwd",
        "/vsicurl/http://127.0.0.1/x",
        "s3://bucket/key",
        "gopher://127.0.0.1:6379/_",
        "",
    ],
)
def test_everything_else_is_refused_in_one_line(url):
    with pytest.raises(InputError) as fault:
        EARTH.check(url)
    assert len(str(fault.value)) < 1000
    assert "\n" not in str(fault.value)
    assert "hush" not in str(fault.value)


def test_a_server_the_user_named_may_be_local_but_only_at_that_port():
    assert OWN.check("http://127.0.0.1:8000/x").named
    for url in (
        "http://127.0.0.1:9200/x",
        "http://127.0.0.1/x",
        "http://localhost:8000/x",
        "http://127.0.0.2:8000/",
    ):
        with pytest.raises(InputError, match="is not https"):
            OWN.check(url)
    with pytest.raises(InputError, match=r"--allow-host 127\.0\.0\.1:9200$"):
        OWN.check("https://127.0.0.1:9200/x")


def test_more_servers_are_named_with_and_without_port():
    policy = policy_of(SOURCES["earth-search"], ["files.example.org", "10.0.0.7:9000", "[fd00::7]:9000"])
    named = ("https://files.example.org/x", "http://files.example.org/x", "http://10.0.0.7:9000/x")
    for url in (*named, "http://[fd00::7]:9000/x"):
        assert policy.check(url).named
    for text in ("http://x", "a b", "x:0", "x:99999", "x/y", "u@x", ""):
        with pytest.raises(ConfigError, match="is no host"):
            policy_of(SOURCES["earth-search"], [text])


def test_hosts_of_a_row_that_is_not_in_the_table_are_the_users():
    row = replace(source_of("https://stac.example.org/v1"), hosts=("127.0.0.1:9000", "*.files.example.org"))
    policy = policy_of(row)
    assert policy.check("http://127.0.0.1:9000/x").named
    assert policy.check("https://stac.example.org/v1/search").named
    assert not policy.check("https://a.files.example.org/x").named
    with pytest.raises(InputError):
        policy.check("https://files.example.org/x")


def test_the_users_s3_server_is_named():
    policy = policy_of(source_of("https://stac.example.org/v1"), endpoint="http://127.0.0.1:9000")
    assert policy.check("http://127.0.0.1:9000/bucket/key").named


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fd00::1", "::ffff:169.254.169.254"),
        *("2002:a9fe:a9fe::1", "64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "no address"),
    ],
)
def test_addresses_of_private_networks_are_not_global(address):
    assert not is_global(address)


def test_public_addresses_are_global():
    assert all(is_global(address) for address in ("8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"))


def test_a_name_that_resolves_into_a_private_network_is_not_dialled(monkeypatch):
    def resolve(host, port, *_):
        found = {"rebound.example": ["169.254.169.254", "10.0.0.1"], "both.example": ["10.0.0.1", "8.8.8.8"]}[
            host
        ]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(hosts.socket, "getaddrinfo", resolve)
    with pytest.raises(InputError, match="no public address"):
        addresses("rebound.example", 443, named=False)
    assert [one[4][0] for one in addresses("both.example", 443, named=False)] == ["8.8.8.8"]
    assert len(addresses("rebound.example", 443, named=True)) == 2


def test_what_is_shown_of_an_address_holds_no_secret():
    assert shown("https://u:CANARY@host/path/x.tif?sig=CANARY&se=1#CANARY") == "https://host/path/x.tif"
    assert shown("https://host/a\n\x1b[2Jb") == "https://host/a??[2Jb"
    assert len(shown("https://host/" + "a" * 10_000_000)) == 300


@given(st.text(max_size=200))
def test_no_text_passes_that_does_not_name_an_allowed_host(text):
    policy = Policy("test", ("good.example", "*.good.example"), frozenset())
    for url in (text, f"https://{text}", f"https://good.example{text}"):
        with suppress(InputError):
            place = policy.check(url)
            assert place.host == "good.example" or place.host.endswith(".good.example")
            assert place.port == 443
