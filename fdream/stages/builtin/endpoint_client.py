"""Asks an OpenAI-compatible server: only the configured one, and only as often as it likes.

The key goes into one header of requests to one address; redirects are refused, and what is told of
an error has the key taken out.
"""

from __future__ import annotations

import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import IO, Any, Final
from urllib.parse import urlsplit

from fdream.core.errors import SettingsError, StageError
from fdream.core.report import logger, printable
from fdream.core.settings import is_loopback, load_settings

_LARGEST_ANSWER: Final = 1 << 20
_PASSING: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""HTTP statuses that another try may get past."""

_LONGEST_WAIT_S: Final = 60.0


class Unanswered(Exception):
    """A request that stayed without an answer after every retry; says why."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: the key was given for one host."""
        del args, kwargs


class Pace:
    """Lets requests go at a steady rate, whichever thread they come from."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._gap_s = 60.0 / per_minute if per_minute else 0.0
        self._clock = clock
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self, sleep: Callable[[float], None] = time.sleep) -> None:
        """Wait for this request's turn."""
        with self._lock:
            turn = max(self._next, self._clock())
            self._next = turn + self._gap_s
        if turn > self._clock():
            sleep(turn - self._clock())


class EndpointClient:
    """One server, its key, and patience.

    Args:
        retries: further tries of a request that failed in passing.
        timeout_s: how long one try may take.
        per_minute: requests a minute; 0: no limit.
    """

    def __init__(self, retries: int, timeout_s: float, per_minute: float) -> None:
        self.address, self._key = _address_and_key()
        self._retries = retries
        self._timeout_s = timeout_s
        self._pace = Pace(per_minute)
        host = urlsplit(self.address).hostname or ""
        # A proxy from the environment would see what is sent in the open to this machine.
        proxies = [urllib.request.ProxyHandler({})] if is_loopback(host) else []
        self._opener = urllib.request.build_opener(_NoRedirects, *proxies)
        self._answered = threading.Event()

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send JSON and return the JSON that comes back.

        Raises:
            StageError: the server refuses in a way that no retry mends, or never answered at all.
            Unanswered: this request failed, though the server is there.
        """
        reason = ""
        for attempt in range(self._retries + 1):
            self._pace.wait()
            wait_s = min(_LONGEST_WAIT_S, 0.5 * 2**attempt) * random.uniform(0.5, 1.0)
            try:
                with self._opener.open(self._request(path, body), timeout=self._timeout_s) as got:
                    answer = _read(got)
                self._answered.set()
                return answer
            except urllib.error.HTTPError as error:
                reason = f"status {error.code}: {self._said(error)}"
                if error.code not in _PASSING:
                    raise self._refusal(error.code, reason) from None
                wait_s = max(wait_s, _asked_to_wait(error.headers.get("Retry-After")))
            except (OSError, HTTPException, ValueError) as error:
                reason = self._clean(f"{type(error).__name__}: {error}")
            logger().info("endpoint: try %d failed: %s", attempt + 1, reason)
            if attempt < self._retries:
                time.sleep(wait_s)
        if not self._answered.is_set():
            raise StageError(
                f"splitter endpoint: {self.address} does not answer ({reason}). Check the setting "
                "endpoint (`fdream config show`) and that the server runs."
            )
        raise Unanswered(reason)

    def _request(self, path: str, body: Mapping[str, Any]) -> urllib.request.Request:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        request = urllib.request.Request(
            f"{self.address}{path}", json.dumps(body).encode(), headers, method="POST"
        )
        if self._key:
            # Unredirected: even a redirect that slipped through would not carry it on.
            request.add_unredirected_header("Authorization", f"Bearer {self._key}")
        return request

    def _refusal(self, status: int, reason: str) -> Exception:
        if status == 400 or status == 422:
            return Rejected(reason)
        hint = {
            401: "Set endpoint_key in your settings file, or FDREAM_ENDPOINT_KEY.",
            403: "The key may not use this model.",
            404: "Check the setting endpoint, which ends in /v1 on most servers, and the model.",
        }.get(status, "A redirect is never followed." if 300 <= status < 400 else "Ask its admin.")
        return StageError(f"splitter endpoint: {self.address} refuses, {reason}. {hint}")

    def _said(self, error: urllib.error.HTTPError) -> str:
        try:
            said = error.read(2000).decode("utf-8", "replace")
        except (OSError, HTTPException):
            said = ""
        return self._clean(said or str(error.reason))

    def _clean(self, said: str) -> str:
        text = said.replace(self._key, "***") if self._key else said
        return printable(" ".join(text.split()))[:200]


class Rejected(Exception):
    """The server does not take this request as it is; another wording may do."""


def _address_and_key() -> tuple[str, str]:
    loaded = load_settings()
    settings = loaded.settings
    if settings.endpoint is None:
        raise SettingsError(
            'splitter endpoint: no server is set. Put endpoint = "https://HOST/v1" into your '
            "settings file (`fdream config show` names it), or set FDREAM_ENDPOINT."
        )
    key = settings.endpoint_key.get_secret_value() if settings.endpoint_key else ""
    origins = loaded.origin("endpoint"), loaded.origin("endpoint_key")
    if key and origins[0] == "FDREAM_ENDPOINT" and origins[1] != "FDREAM_ENDPOINT_KEY":
        raise SettingsError(
            f"FDREAM_ENDPOINT names a server, and the key of {origins[1]} is not its own: a key "
            "goes only to the host it was set for. Set FDREAM_ENDPOINT_KEY as well."
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsError("setting endpoint_key: not a key; it has characters that none has.")
    return settings.endpoint, key


def _read(got: IO[bytes]) -> dict[str, Any]:
    raw = got.read(_LARGEST_ANSWER + 1)
    if len(raw) > _LARGEST_ANSWER:
        raise ValueError("an answer of more than 1 MiB")
    try:
        answer = json.loads(raw)
    except RecursionError:
        raise ValueError("JSON that is too deep") from None
    if not isinstance(answer, dict):
        raise ValueError("an answer that is no JSON object")
    return answer


def _asked_to_wait(header: str | None) -> float:
    try:
        return min(_LONGEST_WAIT_S, max(0.0, float(header or 0)))
    except ValueError:  # a date, which some servers send
        return 1.0
