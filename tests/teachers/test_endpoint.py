"""The endpoint, held against a service on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from understudy.errors import InputError
from understudy.teachers.black_box import Cached
from understudy.teachers.endpoint import LONGEST, Endpoint, _pause

pytest.importorskip("httpx")

SECRET = "sk-do-not-tell"


class Service(ThreadingHTTPServer):
    """Says its prompt backwards, after the statuses that it was told to fail with."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.fails: list[int] = []
        self.body: Any = None
        self.finish = "stop"
        self.hold = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append({"path": self.path, **asked})
        self.server.keys.append(self.headers.get("Authorization"))
        if self.server.hold:
            threading.Event().wait(self.server.hold)
        status = self.server.fails.pop(0) if self.server.fails else 200
        said = asked["messages"][0]["content"][::-1]
        good = {"choices": [{"message": {"content": said}, "finish_reason": self.server.finish}]}
        bad = {"error": {"message": f"wrong: {self.headers.get('Authorization')}"}}
        body = self.server.body if self.server.body is not None else good if status == 200 else bad
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def teacher(service: Service, **more: Any) -> Endpoint:
    return Endpoint(service.url, "small", **{"key_variable": None, "wait": 0.0, "timeout": 10.0, **more})


def test_it_asks_as_the_protocol_says_and_gives_the_answers(service: Service) -> None:
    assert teacher(service, max_tokens=7, top_p=0.9).answer(["abc", "de"]) == ["cba", "ed"]
    assert service.seen[0] == {
        "path": "/v1/chat/completions",
        "model": "small",
        "messages": [{"role": "user", "content": "abc"}],
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 7,
    }
    assert service.keys == [None, None]


def test_the_key_is_sent_and_stands_nowhere_else(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    asked = teacher(service, key_variable="MY_KEY")
    file = tmp_path / "answers.jsonl"
    assert Cached(asked, file).answer(["abc"]) == ["cba"]
    assert service.keys == [f"Bearer {SECRET}"]
    assert SECRET not in file.read_text() + repr(asked) + asked.key
    service.fails = [401]
    with pytest.raises(
        InputError, match=r"refuses model 'small' with status 401: wrong: Bearer \*\*\*"
    ) as found:
        asked.answer(["x"])
    assert SECRET not in str(found.value)


def test_a_key_that_is_not_there_is_named(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(InputError, match="environment variable MY_KEY must hold the API key"):
        teacher(service, key_variable="MY_KEY").answer(["x"])
    assert service.seen == []


def test_it_asks_again_where_that_may_help_and_not_where_it_cannot(service: Service) -> None:
    service.fails = [429, 503]
    assert teacher(service, retries=2).answer(["abc"]) == ["cba"]
    assert len(service.seen) == 3
    service.fails = [500, 500]
    with pytest.raises(InputError, match="has not answered in 2 attempts, the last ended with status 500"):
        teacher(service, retries=1).answer(["abc"])
    service.fails = [404]
    with pytest.raises(InputError, match="status 404"):
        teacher(service, retries=5).answer(["abc"])
    assert len(service.seen) == 6


def test_a_service_that_hangs_or_is_not_there_is_given_up(service: Service) -> None:
    service.hold = 1.0
    with pytest.raises(InputError, match="in 2 attempts, the last ended with ReadTimeout"):
        teacher(service, timeout=0.1, retries=1).answer(["abc"])
    gone = Endpoint("http://127.0.0.1:9", "small", key_variable=None, retries=0)
    with pytest.raises(InputError, match="ConnectError"):
        gone.answer(["abc"])


def test_an_answer_that_was_cut_can_be_refused(service: Service) -> None:
    service.finish = "length"
    assert teacher(service).answer(["abc"]) == ["cba"]
    assert teacher(service).sampled(1.0, 5, whole=True).answer(["abc"]) == [""]


@pytest.mark.parametrize("body", [[], {"choices": []}, {"choices": [{}]}], ids=str)
def test_another_kind_of_service_is_named(service: Service, body: Any) -> None:
    service.body = body
    with pytest.raises(InputError, match="does not answer as a chat service does"):
        teacher(service).answer(["abc"])


def test_a_killed_run_asks_nothing_twice(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    service.fails = [200, 200, 400]
    with pytest.raises(InputError, match="status 400"):
        Cached(teacher(service), file).answer(["a", "b", "c", "d"])
    done = len([line for line in file.read_text().splitlines() if line])
    asked = len(service.seen)
    assert Cached(teacher(service), file).answer(["a", "b", "c", "d"]) == ["a", "b", "c", "d"]
    assert len(service.seen) - asked == 4 - done
    assert done >= 2


def test_waiting_doubles_unless_the_service_says_otherwise() -> None:
    assert (_pause(3.0, None), _pause(3.0, "7"), _pause(3.0, "soon"), _pause(900.0, None)) == (
        3,
        7,
        3,
        LONGEST,
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"url": "ftp://x"}, "an endpoint is http"),
        ({"url": "https://me:pass@host/v1"}, "keep secrets out"),
        ({"url": "https://host/v1?key=abc"}, "keep secrets out"),
        ({"model": ""}, "which model"),
        ({"timeout": 0.0}, "timeout must be"),
        ({"retries": -1}, "retries must be"),
        ({"max_tokens": 0}, "max_tokens must be"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as found:
        Endpoint(**{"url": "https://host/v1", "model": "small", **options})
    assert "pass" not in str(found.value)
    assert "abc" not in str(found.value)
