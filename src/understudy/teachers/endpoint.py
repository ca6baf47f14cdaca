"""`Endpoint`: a text teacher behind any service that speaks OpenAI's chat protocol over HTTP."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from understudy.errors import InputError
from understudy.numbers import check_number
from understudy.teachers.black_box import TextTeacher

AGAIN = {408, 409, 425, 429, 500, 502, 503, 504}  # answers of a service that is worth asking again
LONGEST = 60.0  # seconds between two attempts, at most


@dataclass(frozen=True)
class Endpoint(TextTeacher):
    """A chat model behind `url`/chat/completions, asked one prompt a call, which is the user's message.

    Attributes:
        url: base of the service, such as "https://HOST/v1".
        model: its name there.
        key_variable: name of the environment variable that holds the API key; None sends none. The key itself is
            read when a question is sent, and goes nowhere else: to no file and no message.
        temperature, top_p, max_tokens: of the sampling; None leaves it to the service.
        timeout: seconds until a call is given up.
        retries: further attempts after a timeout, a lost connection or a status such as 429 or 503.
        wait: seconds before the first of them, doubled for each next one, a minute at most; the service's own
            Retry-After goes first, within the same minute.
        whole: whether an answer that was cut off (finish_reason "length") is given as "".
    """

    url: str
    model: str
    key_variable: str | None = "OPENAI_API_KEY"
    temperature: float | None = 0.7
    top_p: float | None = None
    max_tokens: int | None = None
    timeout: float = 60.0
    retries: int = 5
    wait: float = 5.0
    whole: bool = False

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(
                f"an endpoint is http://HOST/... or https://HOST/..., found {self.url.split('@')[-1]!r}"
            )
        if parts.username is not None or parts.password is not None or parts.query:
            raise InputError(
                f"keep secrets out of an endpoint's address ({parts.hostname}): name a key_variable"
            )
        if not self.model:
            raise InputError(f"say which model of {self.url} is asked")
        check_number("timeout", self.timeout, 0.0, above=True)
        check_number("retries", self.retries, 0)
        check_number("wait", self.wait, 0.0)
        for name, least in (("temperature", 0.0), ("top_p", 0.0), ("max_tokens", 1)):
            value = getattr(self, name)
            if value is not None:
                check_number(name, value, least)

    @property
    def key(self) -> str:
        """Address, model and sampling."""
        return json.dumps([self.url.rstrip("/"), self.model, self._sampling(), self.whole])

    def sampled(self, temperature: float, max_tokens: int | None = None, *, whole: bool = False) -> Endpoint:
        """The same model with other sampling."""
        most = self.max_tokens if max_tokens is None else max_tokens
        return replace(self, temperature=temperature, max_tokens=most, whole=whole)

    def answer(self, prompts: Sequence[str], draw: int = 0) -> list[str]:
        """One answer a prompt.

        Raises:
            InputError: httpx is not installed, the key's variable is not set, the service refuses, or it does not
                answer after all attempts.
        """
        http = _httpx()
        secret = None if self.key_variable is None else _secret(self.key_variable)
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        with http.Client(timeout=self.timeout, headers=headers, follow_redirects=False) as client:
            return [self._one(http, client, prompt, secret) for prompt in prompts]

    def _sampling(self) -> dict[str, Any]:
        every = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}
        return {name: value for name, value in every.items() if value is not None}

    def _one(self, http: ModuleType, client: Any, prompt: str, secret: str | None) -> str:
        """One answer, after as many attempts as it takes."""
        message = {"role": "user", "content": prompt}
        body = {"model": self.model, "messages": [message], **self._sampling()}
        address = self.url.rstrip("/") + "/chat/completions"
        for attempt in range(self.retries + 1):
            asked_to_wait = None
            try:
                reply = client.post(address, json=body)
            except http.TransportError as error:
                trouble = f"{type(error).__name__} after at most {self.timeout:g} s"
            else:
                if reply.status_code == 200:
                    return self._text(reply)
                trouble = f"status {reply.status_code}"
                if reply.status_code not in AGAIN:
                    raise InputError(
                        f"{address} refuses model {self.model!r} with {trouble}{_reason(reply, secret)}"
                    )
                asked_to_wait = reply.headers.get("Retry-After")
            if attempt < self.retries:
                time.sleep(_pause(self.wait * 2**attempt, asked_to_wait))
        raise InputError(
            f"{address} has not answered in {self.retries + 1} attempts, the last ended with {trouble}; what was "
            "answered before is kept if a cache is used"
        )

    def _text(self, reply: Any) -> str:
        try:
            choice = reply.json()["choices"][0]
            text, cut = choice["message"]["content"], choice.get("finish_reason") == "length"
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise InputError(f"{self.url} does not answer as a chat service does: {error!r}") from error
        return "" if text is None or (self.whole and cut) else str(text)


def _pause(own: float, asked: str | None) -> float:
    """Seconds to wait: what the service asks for, if that is a number, else our own."""
    stated = asked is not None and asked.isdecimal()
    return min(float(asked) if stated and asked is not None else own, LONGEST)


def _secret(variable: str) -> str:
    found = os.environ.get(variable)
    if not found:
        raise InputError(f"the environment variable {variable} must hold the API key, and it is not set")
    return found


def _reason(reply: Any, secret: str | None) -> str:
    """What the service says of it, if it says so as they do, without the key that it may repeat."""
    try:
        said = str(reply.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return ""
    return f": {(said if secret is None else said.replace(secret, '***'))[:200]}"


def _httpx() -> ModuleType:
    try:
        import httpx
    except ImportError as missing:
        raise InputError(
            f"an endpoint needs httpx ({missing}): pip install 'understudy[endpoint]'"
        ) from missing
    return httpx
