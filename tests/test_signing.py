"""Signatures: fetched once for all threads, renewed in time, never shown."""

import builtins
import logging
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
from scenery.servers import Faults, RangeServer, TokenServer, s3_server
from scenery.web import Answer, LoopbackServer

from isamap.domain.sources import SOURCES, source_of
from isamap.errors import ConfigError, InputError, RemoteError
from isamap.io import signing
from isamap.io.http import Limits, client_of
from isamap.io.signing import Presigned, SasTokens, Signers, Unsigned, s3_endpoint, user_endpoint

CONTENT = bytes(range(256)) * 100
FAST = Limits(total_s=10, read_s=0.5, head_s=1, slow_s=0.5, backoff_s=0.02, backoff_cap_s=0.1)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "B02.tif").write_bytes(CONTENT)
    return tmp_path / "served"


@contextmanager
def planetary(folder, template="/{collection}", server=None, **options):
    """A server that wants signatures, one that gives them, a client and a signer."""
    with TokenServer(**options) as tokens, RangeServer(folder, guard=tokens.fresh, **(server or {})) as files:
        source = replace(
            source_of("http://127.0.0.1:9/stac"),
            hosts=(f"127.0.0.1:{files.port}",),
            signing="planetary-computer",
            token_url=f"{tokens.token_url}{template}",
            requests_per_s=1000,
        )
        with client_of(source, FAST) as client:
            yield files, tokens, client, SasTokens(source, client, "sentinel-2-l2a", wait_s=0.01)


def test_one_token_serves_many_reads_of_many_threads(folder):
    with planetary(folder) as (files, tokens, client, signer):
        faults = []

        def read(k):
            try:
                answer = client.get_range(f"{files.url}/B02.tif", (k, k + 100), signer=signer)
                assert answer.body == CONTENT[k : k + 100]
            except Exception as error:  # noqa: BLE001  # to the test
                faults.append(error)

        threads = [threading.Thread(target=read, args=(k,)) for k in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not faults
        assert tokens.hits == signer.renewals == 1
        assert tokens.requests[0].path.endswith("/token/sentinel-2-l2a")
        assert files.hits == 40


def test_a_token_can_be_asked_for_by_container(folder):
    with planetary(folder, "/{account}/{container}") as (_, tokens, _, signer):
        signed = signer.sign("https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/48/R/B02.tif?old=1")
        assert signed.startswith("https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/48/R/B02.tif?st=")
        assert tokens.requests[0].path.endswith("/token/sentinel2l2a01/sentinel2-l2")
        with pytest.raises(InputError, match="tells no container"):
            signer.sign("https://sentinel2l2a01.blob.core.windows.net/..%2f..%2fx/B02.tif")


def test_a_token_is_renewed_a_minute_before_it_expires(folder, monkeypatch):
    with planetary(folder) as (files, tokens, client, signer):
        client.get_range(f"{files.url}/B02.tif", (0, 10), signer=signer)
        now = time.monotonic()
        monkeypatch.setattr(
            signing, "time", SimpleNamespace(time=time.time, monotonic=lambda: now + 2700 - 65)
        )
        signer.sign(f"{files.url}/B02.tif")
        assert tokens.hits == 1
        monkeypatch.setattr(
            signing, "time", SimpleNamespace(time=time.time, monotonic=lambda: now + 2700 - 55)
        )
        signer.sign(f"{files.url}/B02.tif")
        assert tokens.hits == 2


def test_a_token_that_is_refused_is_renewed_once_for_all(folder, monkeypatch):
    monkeypatch.setattr(signing, "REFUSED_S", 0.0)
    with planetary(folder) as (files, tokens, client, signer):
        client.get_range(f"{files.url}/B02.tif", (0, 10), signer=signer)
        tokens.revoke()
        threads = [
            threading.Thread(
                target=client.get_range, args=(f"{files.url}/B02.tif", (k, k + 10)), kwargs={"signer": signer}
            )
            for k in range(1, 13)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert tokens.hits == 2


def test_tokens_that_wear_out_are_renewed_as_often_as_needed(folder, monkeypatch):
    monkeypatch.setattr(signing, "REFUSED_S", 0.0)
    with planetary(folder, uses=20) as (files, tokens, client, signer):
        for k in range(100):
            body = client.get_range(f"{files.url}/B02.tif", (k, k + 10), signer=signer).body
            assert body == CONTENT[k : k + 10]
        assert tokens.hits == 5


def test_a_brand_new_token_is_not_blamed_for_a_refusal(folder):
    with planetary(folder, server={"faults": Faults({"403": 1.0}, in_a_row=1)}) as (
        files,
        tokens,
        client,
        signer,
    ):
        client.get_range(f"{files.url}/B02.tif", (0, 10), signer=signer)
        assert files.hits == 2
        assert tokens.hits == 1


def test_tokens_that_are_expired_when_they_come_are_handed_back(folder):
    with planetary(folder, expired_first=3) as (files, tokens, client, signer):
        assert client.get_range(f"{files.url}/B02.tif", (0, 10), signer=signer).body == CONTENT[:10]
        assert tokens.hits == 4
        assert files.hits == 1
    with planetary(folder, expired_first=99) as (files, tokens, client, signer):
        with pytest.raises(RemoteError, match="expired tokens"):
            client.get_range(f"{files.url}/B02.tif", (0, 10), signer=signer)
        assert tokens.hits == 5
        assert files.hits == 0


@pytest.mark.parametrize("skew_s", [-300, 300])
def test_the_users_clock_does_not_matter(folder, monkeypatch, skew_s):
    ours = SimpleNamespace(time=lambda: time.time() + skew_s, monotonic=time.monotonic)
    monkeypatch.setattr(signing, "time", ours)
    with planetary(folder, lifetime_s=200) as (files, tokens, client, signer):
        for k in range(5):
            client.get_range(f"{files.url}/B02.tif", (k, k + 10), signer=signer)
        assert tokens.hits == 1


@pytest.mark.parametrize("skew_s", [-300, 300])
def test_the_clock_of_the_server_that_checks_does_not_matter(folder, skew_s):
    with planetary(folder, skew_s=skew_s) as (files, tokens, client, signer):
        assert client.get_range(f"{files.url}/B02.tif", (0, 10), signer=signer).body == CONTENT[:10]
        assert tokens.hits == 1


def test_a_server_of_tokens_that_fails_now_and_then_is_survived(folder):
    with planetary(folder, faults=Faults.share(0.5, ("429", "500", "503", "reset", "html"), in_a_row=3)) as (
        files,
        _,
        client,
        signer,
    ):
        assert client.get_range(f"{files.url}/B02.tif", (0, 10), signer=signer).body == CONTENT[:10]


class _Odd(LoopbackServer):
    def __init__(self, document):
        super().__init__()
        self.document = document

    def respond(self, request):
        return Answer.json(self.document)


@pytest.mark.parametrize(
    "document",
    [
        *([], None, {}, {"token": "a=b"}, {"token": 7, "msft:expiry": "2100-01-01T00:00:00Z"}),
        {"token": "a=b", "msft:expiry": "soon"},
        {"token": "a=b\r\nHost: evil", "msft:expiry": "2100-01-01T00:00:00Z"},
        {"token": "a" * 5000, "msft:expiry": "2100-01-01T00:00:00Z"},
        {"token": "a=b", "msft:expiry": 4102444800},
    ],
)
def test_an_answer_that_is_no_token_is_refused(document):
    with _Odd(document) as server:
        row = replace(source_of(server.url), signing="planetary-computer", token_url=f"{server.url}/token")
        with client_of(row, FAST) as client, pytest.raises(RemoteError, match="sent no token"):
            SasTokens(row, client, "c").sign("https://host/x.tif")


def test_threads_that_waited_for_a_token_in_vain_do_not_queue_up(folder):
    limits = replace(FAST, total_s=1, attempts=3)
    faults = Faults({"stall": 1.0})
    with TokenServer(faults=faults) as tokens:
        row = replace(source_of(tokens.url), signing="planetary-computer", token_url=tokens.token_url)
        with client_of(row, limits) as client:
            signer, ended = SasTokens(row, client, "c"), []

            def sign():
                try:
                    signer.sign("https://host/x.tif")
                except Exception:  # noqa: BLE001  # counted
                    ended.append(time.monotonic())

            began = time.monotonic()
            threads = [threading.Thread(target=sign) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert len(ended) == 8
    assert max(ended) - began < 4


def test_s3_addresses_are_signed_with_the_users_keys(folder, monkeypatch):
    with s3_server(folder, monkeypatch) as bucket:
        row = source_of("https://stac.example.org/v1")
        with client_of(row, FAST, endpoint=user_endpoint()) as client:
            signer = Signers(row, client).of("sentinel-2-l2a")
            answer = client.get_range(bucket.href("B02.tif"), (10, 500), signer=signer)
            assert (answer.body, answer.total) == (CONTENT[10:500], len(CONTENT))
            signed = signer.sign(bucket.href("B02.tif"))
            assert "X-Amz-Signature=" in signed
            assert "CANARY-secret" not in signed
            assert signer.sign("https://host/x") == "https://host/x"
            with pytest.raises(RemoteError, match="404"):
                client.get_range(bucket.href("none.tif"), (10, 500), signer=signer)


def test_public_buckets_need_no_keys(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    row = source_of("https://stac.example.org/v1")
    with pytest.raises(ConfigError, match="AWS_NO_SIGN_REQUEST"):
        Presigned(row, "").sign("s3://sentinel-cogs/x/B02.tif")
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    signed = Presigned(row, "").sign("s3://sentinel-cogs/x/B02.tif")
    assert signed == "https://sentinel-cogs.s3.us-west-2.amazonaws.com/x/B02.tif"


def test_each_source_has_its_own_s3_server_unless_the_user_has_one(monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    assert s3_endpoint(SOURCES["cdse"]) == "https://eodata.dataspace.copernicus.eu"
    assert s3_endpoint(source_of("https://stac.example.org/v1")) == ""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://10.0.0.7:9000/")
    assert s3_endpoint(SOURCES["cdse"]) == user_endpoint() == "http://10.0.0.7:9000"


def test_without_botocore_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("botocore"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"isamap\[s3\]"):
        Presigned(source_of("https://stac.example.org/v1"), "").sign("s3://bucket/key")


def test_sources_without_signatures_are_read_as_they_are(folder):
    row = SOURCES["earth-search"]
    with client_of(row) as client:
        signer = Signers(row, client).of("sentinel-2-l2a")
        assert isinstance(signer, Unsigned)
        assert signer.sign("https://host/x") == "https://host/x"


def test_no_secret_reaches_any_log(folder, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    with planetary(folder, expired_first=1) as (files, tokens, client, signer):
        client.get_range(f"{files.url}/B02.tif", (0, 10), signer=signer)
        tokens.revoke()
        with pytest.raises(RemoteError) as fault:
            client.get_range(f"{files.url}/none.tif", (0, 10), signer=signer)
        secrets = [token.text.rpartition("sig=")[2] for token in tokens.issued]
    with s3_server(folder, monkeypatch, bucket="hushed") as bucket:
        row = source_of("https://stac.example.org/v1")
        with client_of(row, FAST, endpoint=user_endpoint()) as client:
            client.get_range(bucket.href("B02.tif"), (10, 500), signer=Presigned(row, bucket.url))
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name != "werkzeug")
    assert "B02.tif" in ours
    for secret in (*secrets, "CANARY-secret", "X-Amz-Signature", "X-Amz-Credential", "sig="):
        assert secret not in ours
        assert secret not in str(fault.value)
