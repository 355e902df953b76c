"""Requests to a server, many at a time: made again where that may help, kept where they were answered before."""

import logging
import os
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import httpx2

from trivium.core.errors import BadAnswer, NotOffered, Unreachable
from trivium.core.progress import Bar
from trivium.models.answers import AnswerCache

log = logging.getLogger(__name__)

AGAIN = frozenset({408, 409, 425, 429, *range(500, 600)} - {501})
"""Statuses after which a request is made again."""
LONGEST = 60.0
"""Seconds that a wait of our own grows to."""
PATIENCE = 600.0
"""Seconds that a server may ask to be waited for."""

Answer = dict[str, Any]


class Changed(BadAnswer):
    """Another model answers than before."""


@dataclass(frozen=True)
class Job:
    """One request: what is asked where, and how the answer is read. ``read`` raises BadAnswer, or whatever comes of
    looking for what is not there, for an answer that is none."""

    path: str
    body: str
    read: Callable[[Answer], Answer] = field(compare=False)
    without: str = field(default="", compare=False)
    """What would work where the server refuses log-probabilities."""


@dataclass(frozen=True)
class Endpoint:
    """Where requests go, under which key, and with how much patience."""

    url: str
    key: str
    concurrency: int
    timeout: float
    retries: int
    wait: float
    _seen: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    _lock: Any = field(default_factory=threading.Lock, compare=False, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{self.url!r} is no address; write one such as http://localhost:8000/v1")
        if "@" in parts.netloc or parts.query or parts.fragment:  # which may hold a secret
            raise ValueError(
                f"the address of {parts.hostname} holds more than host and path; a key belongs into the environment "
                f"variable {self.key}"
            )
        for name, least in (("concurrency", 1), ("retries", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.timeout <= 0 or self.wait < 0:
            raise ValueError(f"timeout must be positive and wait not negative; got {self.timeout} and {self.wait}")

    @cached_property
    def client(self) -> httpx2.Client:
        return httpx2.Client(timeout=self.timeout, limits=httpx2.Limits(max_connections=self.concurrency))

    def headers(self) -> dict[str, str]:
        """The only place that the key goes to."""
        secret = os.environ.get(self.key)
        return {"Content-Type": "application/json", **({"Authorization": f"Bearer {secret}"} if secret else {})}

    def answers(self, jobs: Sequence[Job], at_a_time: int, cache: AnswerCache | None, bar: Bar | None) -> list[Answer]:
        """The answer to each request; those that are alike, or in the cache, are not made again."""
        if at_a_time < 1:
            raise ValueError(f"batch_size must be at least 1, got {at_a_time}")
        known: dict[Job, Answer] = {}
        for job in dict.fromkeys(jobs):
            if cache is not None and (kept := cache.get("served", job.path, job.body)) is not None:
                self._same(kept["by"])
                known[job] = kept
        left = [job for job in dict.fromkeys(jobs) if job not in known]
        _ = self.client  # made once, before threads share it
        stop = threading.Event()
        with ThreadPoolExecutor(min(at_a_time, self.concurrency)) as pool:
            running = {pool.submit(self._answer, job, stop): job for job in left}
            try:
                for done in as_completed(running):
                    job = running[done]
                    known[job] = done.result()
                    if cache is not None:
                        cache.put(known[job], "served", job.path, job.body)
                    if bar is not None:
                        bar.advance()
            except BaseException:
                stop.set()  # nobody waits for another try
                pool.shutdown(cancel_futures=True)
                raise
        return [known[job] for job in jobs]

    def listed(self) -> list[str]:
        """The models that the server says it has."""
        job = Job("models", "", lambda said: {"names": [entry["id"] for entry in said["data"]]})
        return self._answer(job, threading.Event())["names"]

    def _answer(self, job: Job, stop: threading.Event) -> Answer:
        """Asked again and again where that may help; a job without a body asks for what is there."""
        apart = random.Random(job.body)  # requests that failed together are not made again together
        attempt, failed = 0, Exception()
        for attempt in range(self.retries + 1):
            after = 0.0
            try:
                where = f"{self.url}/{job.path}"
                if job.body:
                    got = self.client.post(where, content=job.body, headers=self.headers())
                else:
                    got = self.client.get(where, headers=self.headers())
                if got.status_code == httpx2.codes.OK:
                    return self._read(got, job)
                self._check(got, job)
                after = _retry_after(got.headers.get("retry-after"))
                failed = Unreachable(f"{got.status_code}: {self._said(got)}")
            except (Changed, NotOffered):
                raise
            except httpx2.TransportError as error:
                failed = Unreachable(f"{type(error).__name__}: {error}")
            except BadAnswer as error:
                failed = error
            if after > PATIENCE:
                raise Unreachable(
                    f"{self.url} asks to be left alone for {after:.0f} seconds ({failed}); try again later, since a "
                    "cache has kept what it answered"
                )
            if attempt < self.retries:
                seconds = max(after, min(self.wait * 2**attempt, LONGEST) * apart.uniform(0.5, 1.0))
                log.info("%s failed (%s); asked again in %.1f seconds", self.url, failed, seconds)
                if stop.wait(seconds):
                    break
        raise type(failed)(f"{self.url} failed {attempt + 1} times, the last time with: {failed}")

    def _read(self, got: httpx2.Response, job: Job) -> Answer:
        try:
            said = got.json()
        except ValueError as error:
            raise BadAnswer(f"its answer is no JSON ({error})") from error
        if not isinstance(said, dict):
            raise BadAnswer(f"its answer is no JSON object but {type(said).__name__}")
        by = {name: str(said[name]) for name in ("model", "system_fingerprint") if said.get(name)}
        self._same(by)
        try:
            return {**job.read(said), "by": by}
        except (BadAnswer, NotOffered):
            raise
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise BadAnswer(f"its answer lacks something ({error!r})") from error

    def _check(self, got: httpx2.Response, job: Job) -> None:
        """Raise what cannot be helped by asking again."""
        status, said = got.status_code, self._said(got)
        if status in AGAIN:
            return
        if status in (401, 403):
            raise Unreachable(
                f"{self.url} refuses the key ({status}: {said}); put one that it takes into the environment variable "
                f"{self.key}{'' if os.environ.get(self.key) else ', which is empty'}"
            )
        if status in (404, 405, 501):
            raise NotOffered(f"{self.url} has no {job.path}, or not this model ({status}: {said})")
        if 300 <= status < 400:
            raise Unreachable(f"{self.url} has moved to {got.headers.get('location', '?')}; give that address")
        if "logprobs" in said or "echo" in said:
            raise NotOffered(f"{self.url} refuses log-probabilities ({status}: {said}). {job.without}")
        raise ValueError(f"{self.url} refuses what it was asked for ({status}: {said})")

    def _said(self, got: httpx2.Response) -> str:
        """The server's own words, without the key if it repeats that."""
        text, secret = " ".join(got.text.split()), os.environ.get(self.key)
        return (text.replace(secret, "...") if secret else text)[:300]

    def _same(self, by: dict[str, str]) -> None:
        """Raise where another model answers than before."""
        with self._lock:
            for name, value in by.items():
                before = self._seen.setdefault(name, value)
                if before != value:
                    raise Changed(
                        f"{self.url} changed within the run: its {name} was {before!r} and is {value!r}. Answers of "
                        "the two are no result; begin again with an empty cache, which a run has in its folder"
                    )


def _retry_after(said: str | None) -> float:
    """Seconds that a server asks to be waited for: a number, or a date."""
    if said is None:
        return 0.0
    try:
        return max(float(said), 0.0)
    except ValueError:
        pass
    try:
        return max((parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return 0.0
