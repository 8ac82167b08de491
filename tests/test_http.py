"""The client: every fault of a server is survived or reported, in time, and it goes nowhere else."""

import json
import logging
import pickle
import socket
import ssl
import threading
import time
from collections import Counter
from contextlib import contextmanager

import pytest
from scenery.servers import TRANSIENT, Canary, Faults, RangeServer
from scenery.web import Answer, LoopbackServer

from isamap.errors import BusyError, InputError, IsamapError, RemoteError
from isamap.io import wire
from isamap.io.hosts import Policy
from isamap.io.http import Changed, Client, Limits, Refused, Unanswered
from isamap.io.pace import Clock, Haste

CONTENT = bytes(range(256)) * 400
FAST = Limits(
    total_s=20,
    connect_s=2,
    head_s=1.5,
    read_s=0.4,
    slow_s=0.5,
    backoff_s=0.02,
    backoff_cap_s=0.1,
    retry_after_cap_s=1,
)
SECRET = "sig=CANARY"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "a.tif").write_bytes(CONTENT)
    return tmp_path / "served"


def policy(*servers):
    return Policy("test", (), frozenset(("127.0.0.1", getattr(server, "port", server)) for server in servers))


class Scripted(LoopbackServer):
    """Answers what it is told."""

    def __init__(self, *answers, latency_s=0):
        super().__init__(latency_s=latency_s)
        self.answers = list(answers)

    def respond(self, request):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def raw_server(*chunks, pause_s=0.0, repeat=1):
    """Sends bytes as they are, whatever is asked."""
    listening = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()
    accepted = []

    def serve():
        while not stop.is_set():
            try:
                peer, _ = listening.accept()
            except OSError:
                return
            accepted.append(peer)
            threading.Thread(target=talk, args=(peer,)).start()

    def talk(peer):
        with peer:
            try:
                for _ in range(repeat):
                    for chunk in chunks:
                        peer.sendall(chunk)
                        if stop.wait(pause_s):
                            return
                stop.wait(5)
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listening.getsockname()[1], accepted
    finally:
        stop.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def test_a_range_comes_back_with_what_is_known_of_the_file(folder):
    with RangeServer(folder) as server, Client(policy(server), FAST) as client:
        answer = client.get_range(f"{server.url}/a.tif", (100, 5000))
        assert (answer.body, answer.begin, answer.total) == (CONTENT[100:5000], 100, len(CONTENT))
        tail = client.get_range(f"{server.url}/a.tif", (len(CONTENT) - 10, len(CONTENT) + 1000), known=answer)
        assert tail.body == CONTENT[-10:]
        assert server.requests[1].headers["if-match"] == answer.etag
        assert client.requests == server.hits == 2
        assert client.received == 4910


@pytest.mark.parametrize("kind", [*TRANSIENT, "trickle"])
def test_a_fault_that_passes_is_survived(folder, kind):
    faults = Faults({kind: 1.0}, in_a_row=2)
    with RangeServer(folder, faults=faults) as server, Client(policy(server), FAST) as client:
        assert client.get_range(f"{server.url}/a.tif", (0, 5000)).body == CONTENT[:5000]
        assert client.requests == server.hits == 3


@pytest.mark.parametrize(
    ("kind", "error", "words", "most"),
    [
        ("500", BusyError, "HTTP 500", 10),
        ("429", BusyError, "HTTP 429", 10),
        ("reset", BusyError, "connection broke", 10),
        ("short", BusyError, "connection broke", 10),
        ("stall", BusyError, "in time", 10),
        ("html", RemoteError, "web page", 10),
        ("wrong-range", RemoteError, "instead of", 10),
        ("403", RemoteError, "access refused", 4),
        ("404", RemoteError, "HTTP 404", 1),
        ("no-range", RemoteError, "ignores byte ranges", 1),
    ],
)
def test_a_fault_that_stays_ends_within_the_attempts_and_the_time(folder, kind, error, words, most):
    limits = Limits(**{**vars(FAST), "total_s": 6})
    with RangeServer(folder, faults=Faults({kind: 1.0})) as server, Client(policy(server), limits) as client:
        began = time.monotonic()
        with pytest.raises(error, match=words) as fault:
            client.get_range(f"{server.url}/a.tif?{SECRET}", (0, 5000))
        assert time.monotonic() - began < 7.5
        assert client.requests == server.hits <= most
        assert "CANARY" not in str(fault.value)
        assert f"{server.url}/a.tif" in str(fault.value)


def refused_port():
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def test_a_server_that_takes_no_connection_is_left_soon_only_in_haste():
    port, spent = refused_port(), []
    limits = Limits(**{**vars(FAST), "attempts": 30, "backoff_s": 0.1, "backoff_cap_s": 0.1})
    with Client(policy(port), limits) as client:
        for clock in (Clock(20, Haste(refused_s=0.5)), Clock(20)):
            before = client.requests
            with pytest.raises(Unanswered, match=r"takes no connection \(ConnectionRefusedError"):
                client.get_json(f"http://127.0.0.1:{port}/", 1000, {}, clock)
            spent.append(client.requests - before)
    hasty, patient = spent
    assert hasty < patient == limits.attempts


def test_a_server_that_says_nothing_is_left_in_haste_after_the_time_it_has():
    limits = Limits(**{**vars(FAST), "read_s": 5, "head_s": 5})
    with raw_server(b"", pause_s=4) as (port, accepted), Client(policy(port), limits) as client:
        began = time.monotonic()
        with pytest.raises(Unanswered, match="did not answer in time"):
            client.get_json(f"http://127.0.0.1:{port}/", 1000, {}, Clock(20, Haste(silent_s=0.7)))
        assert time.monotonic() - began > 0.6
        assert len(accepted) == 1


def test_a_server_that_swallows_connections_is_left_in_haste_after_one():
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(0)
    held = []
    with listening:
        for _ in range(4):  # the queue is full: further ones are dropped
            held.append(socket.socket())
            held[-1].setblocking(False)
            held[-1].connect_ex(listening.getsockname())
        port, limits = listening.getsockname()[1], Limits(**{**vars(FAST), "connect_s": 0.5})
        with Client(policy(port), limits) as client:
            with pytest.raises(Unanswered, match="did not answer in time"):
                client.get_json(f"http://127.0.0.1:{port}/", 1000, {}, Clock(20, Haste(refused_s=0.3)))
            assert client.requests == 1
        for one in held:
            one.close()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_haste_is_over_as_soon_as_a_server_says_that_it_is_busy(status):
    answers = [Answer(status)] * 4 + [Answer(200, b"{}")]
    limits = Limits(**{**vars(FAST), "backoff_s": 0.7, "backoff_cap_s": 0.7})
    with Scripted(*answers) as server, Client(policy(server), limits) as client:
        hasty = Clock(20, Haste(refused_s=0.01, silent_s=1.0))
        assert client.get_json(f"{server.url}/", 1000, {}, hasty)[0] == {}
        assert server.hits == 5


def test_what_comes_late_is_waited_for_once_it_has_begun():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{"
    limits = Limits(**{**vars(FAST), "read_s": 5, "slow_s": 5})
    with raw_server(head, b"}", pause_s=2.5) as (port, _), Client(policy(port), limits) as client:
        hasty = Clock(20, Haste(silent_s=1.5))
        assert client.get_json(f"http://127.0.0.1:{port}/", 1000, {}, hasty)[0] == {}


def test_the_whole_file_is_taken_from_a_server_that_ignores_ranges_if_it_is_small(folder):
    with (
        RangeServer(folder, faults=Faults({"no-range": 1.0})) as server,
        Client(policy(server), FAST) as client,
    ):
        answer = client.get_range(f"{server.url}/a.tif", (100, 200), whole=1 << 20)
        assert (answer.body, answer.begin, answer.total) == (CONTENT, 0, len(CONTENT))


def test_a_file_that_is_replaced_is_noticed(folder):
    with RangeServer(folder) as server, Client(policy(server), FAST) as client:
        answer = client.get_range(f"{server.url}/a.tif", (0, 10))
        (folder / "a.tif").write_bytes(CONTENT[::-1])
        with pytest.raises(Changed):
            client.get_range(f"{server.url}/a.tif", (10, 20), known=answer)
        (folder / "a.tif").write_bytes(b"x")
        with pytest.raises(Changed):
            client.get_range(f"{server.url}/a.tif", (10, 20), known=answer)


def test_a_changed_total_is_noticed_where_there_is_no_etag():
    def part(total):
        return Answer(206, b"0123456789", {"Content-Range": f"bytes 0-9/{total}"})

    with Scripted(part(100), part(100), part(200)) as server, Client(policy(server), FAST) as client:
        known = client.get_range(server.url, (0, 10))
        assert client.get_range(server.url, (0, 10), known=known).total == 100
        with pytest.raises(Changed):
            client.get_range(server.url, (0, 10), known=known)


def test_retry_after_is_honoured_as_seconds_and_as_date_but_not_for_ever(folder):
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3600))
    for text, least, most in (
        ("1", 0.95, 3),
        (date, 0.95, 3),
        ("99999", 0.95, 3),
        ("soon", 0, 0.9),
        ("-5", 0, 0.9),
    ):
        answers = Answer(429, b"", {"Retry-After": text}), Answer.json({"ok": 1})
        with Scripted(*answers) as server, Client(policy(server), FAST) as client:
            began = time.monotonic()
            assert client.get_json(server.url, 1000)[0] == {"ok": 1}
            assert least <= time.monotonic() - began < most, text


def test_a_server_that_begs_for_rest_is_left_alone_by_all_threads(folder):
    with RangeServer(folder, faults=Faults({"429": 1.0}, in_a_row=1, retry_after_s=1)) as server:
        with Client(policy(server), FAST) as client:
            client.get_range(f"{server.url}/a.tif", (0, 10))
            threads = [
                threading.Thread(target=client.get_range, args=(f"{server.url}/a.tif", (k, k + 10)))
                for k in range(1, 9)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        times = [request.began for request in server.requests if request.fault is None]
        assert len(times) == 9
        assert server.hits <= 18


def test_documents_are_asked_for_at_the_rate_of_the_source():
    with Scripted(Answer.json({})) as server, Client(policy(server), FAST, rate_per_s=20) as client:
        began = time.monotonic()
        for _ in range(11):
            client.get_json(server.url, 100)
        assert 0.49 <= time.monotonic() - began < 2


def test_a_post_is_repeated_with_its_body():
    with Scripted(Answer(503), Answer.json({"found": 1})) as server, Client(policy(server), FAST) as client:
        assert client.get_json(f"{server.url}/search", 1000, {"limit": 3})[0] == {"found": 1}
        assert [json.loads(request.body) for request in server.requests] == [{"limit": 3}] * 2


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (Answer(200, b'{"a": '), RemoteError, "no JSON"),
        (Answer(200, b'"' + b"a" * 3000 + b'"'), RemoteError, "more than 2000"),
        (Answer(200, b"\xff\xfe\x00"), RemoteError, "no JSON"),
        (Answer(200, b"<!DOCTYPE html><p>", {"Content-Type": "application/json"}), RemoteError, "web page"),
        (Answer(200, b"{}", {"Content-Encoding": "gzip"}), RemoteError, "compressed"),
        (Answer(400, b"{}"), Refused, "HTTP 400"),
        (Answer(204, b""), RemoteError, "HTTP 204"),
        (Answer(302, b"", {}), RemoteError, "HTTP 302"),
    ],
)
def test_documents_that_are_none_are_refused(answer, error, words):
    with Scripted(answer) as server, Client(policy(server), FAST) as client:
        with pytest.raises(error, match=words):
            client.get_json(server.url, 2000)
        assert client.requests <= 10


def test_json_that_is_too_deep_is_refused_at_once():
    with Scripted(Answer(200, b"[" * 300_000)) as server, Client(policy(server), FAST) as client:
        with pytest.raises(RemoteError, match="too deep"):
            client.get_json(server.url, 1 << 20)
        assert client.requests == 1


@pytest.mark.parametrize(
    "text", ["", "bytes 0-9/*", "bytes 5-14/100", "bytes 0-9/9999999999999999999999", "0-9/100"]
)
def test_a_part_that_does_not_say_where_it_belongs_is_refused(text):
    answer = Answer(206, b"0123456789", {"Content-Range": text})
    with Scripted(answer) as server, Client(policy(server), FAST) as client, pytest.raises(RemoteError):
        client.get_range(server.url, (0, 10))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_leads_only_where_requests_may_go(folder, status):
    with Canary() as canary, RangeServer(folder) as server:
        away = Answer(status, b"", {"Location": f"{canary.url}/x?{SECRET}"})
        home = Answer(status, b"", {"Location": f"{server.url}/a.tif?{SECRET}"})
        with Scripted(away) as first, Client(policy(first, server), FAST) as client:
            with pytest.raises(RemoteError, match="nothing is asked") as fault:
                client.get_range(f"{first.url}/x", (0, 10))
            assert "CANARY" not in str(fault.value)
            assert first.hits == 1
        with Scripted(home) as first, Client(policy(first, server), FAST) as client:
            assert client.get_range(f"{first.url}/x", (0, 10)).body == CONTENT[:10]
        assert canary.hits == 0


def test_redirects_in_a_circle_end():
    with Scripted(Answer(302, b"", {"Location": "/again"})) as server, Client(policy(server), FAST) as client:
        with pytest.raises(RemoteError, match="more than 4 times"):
            client.get_range(server.url, (0, 10))
        assert server.hits == 5


def test_a_post_is_not_turned_into_a_get_by_a_redirect():
    with (
        Scripted(Answer(302, b"", {"Location": "/other"})) as server,
        Client(policy(server), FAST) as client,
        pytest.raises(RemoteError, match="instead of an answer to POST"),
    ):
        client.get_json(server.url, 100, {})


@pytest.mark.parametrize(
    "url", ["https://10.0.0.1/x", "http://169.254.169.254/x", "file:///etc/passwd", "s3://bucket/x"]
)
def test_an_address_that_is_not_allowed_is_not_asked(url):
    with Client(policy(1), FAST) as client:
        with pytest.raises(InputError):
            client.get_range(url, (0, 10))
        assert client.requests == 0


def test_a_name_that_resolves_to_a_private_address_is_not_connected_to():
    """`localhost` stands for a name in the table whose server is inside the user's own network."""
    with Canary() as canary:
        named = Policy("test", ("localhost",), frozenset())
        place = named.check("https://localhost/x")
        with Client(named, FAST) as client, pytest.raises(InputError, match="no public address"):
            client.get_range(place.url, (0, 10))
        assert canary.hits == 0


@pytest.mark.parametrize(
    "chunks",
    [
        (b"H",),  # a head that never ends
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (
            b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-9999/10000\r\nContent-Length: 10000\r\n\r\n"
            + b"a" * 99,
            b"",
        ),
    ],
)
def test_a_server_that_sends_a_byte_now_and_then_is_cut(chunks):
    limits = Limits(total_s=2, head_s=1, read_s=5, slow_s=1, slow_bytes_s=1000, attempts=3, backoff_s=0.01)
    with raw_server(*chunks, pause_s=0.1, repeat=200) as (port, _), Client(policy(port), limits) as client:
        began = time.monotonic()
        with pytest.raises(BusyError):
            client.get_range(f"http://127.0.0.1:{port}/", (0, 10_000))
        assert time.monotonic() - began < 4


def test_a_stalled_handshake_is_cut(monkeypatch):
    with raw_server(b"", pause_s=30) as (port, _):
        named = Policy("test", (), frozenset({("127.0.0.1", port)}))
        with Client(named, Limits(total_s=2, head_s=0.5, attempts=2, backoff_s=0.01)) as client:
            began = time.monotonic()
            with pytest.raises(BusyError):
                client.get_range(f"https://127.0.0.1:{port}/", (0, 10))
            assert time.monotonic() - began < 3


def test_a_body_without_end_is_not_read_to_it():
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    with (
        raw_server(head, b"[" + b"1," * 500_000, repeat=1000) as (port, _),
        Client(policy(port), FAST) as client,
    ):
        with pytest.raises((RemoteError, BusyError)):
            client.get_json(f"http://127.0.0.1:{port}/", 100_000)
        assert client.received < 1 << 20


def test_a_file_without_length_is_not_taken_for_whole():
    with (
        raw_server(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nII*") as (port, _),
        Client(policy(port), Limits(total_s=1, read_s=0.3, attempts=2)) as client,
        pytest.raises(RemoteError, match="how long"),
    ):
        client.get_range(f"http://127.0.0.1:{port}/", (0, 10), whole=1000)


def test_a_server_without_a_certificate_we_trust_is_refused_at_once(tmp_path):
    with (
        raw_server(b"HTTP/1.1 200 OK\r\n\r\n") as (port, _),
        Client(policy(port), FAST) as client,
        pytest.raises((RemoteError, BusyError)),
    ):
        client.get_range(f"https://127.0.0.1:{port}/", (0, 10))


def test_certificates_are_checked():
    context = wire._tls()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


def test_closing_wakes_everyone_up(folder):
    with RangeServer(folder, faults=Faults({"429": 1.0}, retry_after_s=30)) as server:
        client = Client(policy(server), Limits())
        ended = []

        def ask():
            try:
                client.get_range(f"{server.url}/a.tif", (0, 10))
            except BusyError:
                ended.append(time.monotonic())

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        began = time.monotonic()
        client.close()
        for thread in threads:
            thread.join()
        assert len(ended) == 4
        assert max(ended) - began < 1


def test_closing_cuts_what_is_on_its_way(folder):
    with RangeServer(folder, faults=Faults({"stall": 1.0})) as server:
        client = Client(policy(server), Limits())

        def ask():
            with pytest.raises(BusyError):
                client.get_range(f"{server.url}/a.tif", (0, 10))

        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.3)
        client.close()
        thread.join(2)
        assert not thread.is_alive()


def test_connections_are_kept_and_bounded(folder):
    with RangeServer(folder, latency_s=0.02) as server, Client(policy(server), FAST, connections=3) as client:
        opened = Counter()
        real = server._opened
        server._opened = lambda connection: (opened.update(["n"]), real(connection))[1]
        threads = [
            threading.Thread(target=lambda k=k: client.get_range(f"{server.url}/a.tif", (k, k + 100)))
            for k in range(30)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert opened["n"] <= 3


def test_no_token_reaches_any_log(folder, caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("urllib3", "urllib3.connectionpool", "isamap"):
        caplog.set_level(logging.DEBUG, logger=name)
    faults = Faults.share(0.9, seed=5, in_a_row=3)
    with RangeServer(folder, faults=faults) as server, Client(policy(server), FAST) as client:
        for k in range(8):
            client.get_range(f"{server.url}/a.tif?{SECRET}", (k, k + 5000))
        with pytest.raises(RemoteError):
            client.get_range(f"{server.url}/none.tif?{SECRET}", (0, 10))
    assert "/a.tif" in caplog.text
    assert "urllib3" in caplog.text
    assert "CANARY" not in caplog.text


def test_a_proxy_is_used_for_https_and_told_only_the_host(monkeypatch):
    with raw_server(b"HTTP/1.1 502 no\r\n\r\n") as (port, accepted):
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hush@127.0.0.1:{port}")
        monkeypatch.setenv("NO_PROXY", "")
        limits = Limits(total_s=2, attempts=1)
        files = Policy("test", ("files.example",), frozenset())
        with Client(files, limits) as client, pytest.raises(BusyError) as fault:
            client.get_range(f"https://files.example/x?{SECRET}", (0, 10))
        assert accepted
        assert "hush" not in str(fault.value)


def test_loopback_is_never_asked_through_a_proxy(monkeypatch, folder):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with RangeServer(folder) as server, Client(policy(server), FAST) as client:
        assert client.get_range(f"{server.url}/a.tif", (0, 10)).body == CONTENT[:10]


def kinds(kind):
    return {kind}.union(*(kinds(part) for part in kind.__subclasses__()))


@pytest.mark.parametrize("kind", sorted(kinds(IsamapError), key=lambda kind: kind.__name__))
def test_every_fault_reaches_the_process_that_started_the_worker(kind):
    fault = kind(404, "gone") if kind is Refused else kind("gone")
    found = pickle.loads(pickle.dumps(fault))
    assert (type(found), str(found), vars(found)) == (kind, "gone", vars(fault))
