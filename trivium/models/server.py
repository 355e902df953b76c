"""A model behind an OpenAI-compatible endpoint: scored, written with and embedded by over HTTP.

    scores      POST completions, with the prompt echoed and the log-probability of each of its tokens
    texts       POST completions, or chat/completions where the server chats
    vectors     POST embeddings, pooled as the server does

It stands where a ``System`` is scored, written with or embedded by; whatever else a system has, such as its weights,
is refused by name. Where an endpoint does not give something, such as the log-probabilities of a prompt, that is an
error that says what would work, never a number of another kind.

Echoed tokens must spell the prompt, up to characters in pieces, of which servers show none. Those that spell the
continuation at the prompt's end are its own; where that cannot be seen, since a token lies across its beginning or a
character is in pieces, the context is echoed by itself too and its tokens are counted, as ``scoring.encoded`` does. In
one case numbers are not the local ones: a ``merged`` request is read here as the whole text is cut into tokens, and
there as the context's own tokens and the rest.

A request that fails for the network's or the server's sake is repeated, later and later, and not before the time that
the server asks for. The key for it comes from an environment variable and goes into the header of requests and nowhere
else. Every answer says which model gave it; where that changes, the run ends, since answers of two models are no
result.
"""

import itertools
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import torch
from torch import Tensor

from trivium.core import files
from trivium.core.errors import BadAnswer, NotFinite, NotOffered, UnknownName, did_you_mean
from trivium.core.progress import Bar
from trivium.models._endpoint import Answer, Endpoint, Job
from trivium.models.answers import AnswerCache
from trivium.models.embedding import Pooling
from trivium.models.scoring import Request, Scored
from trivium.models.writing import Prompt, Written

PREFIX = "&prefix=<|endoftext|> in its address"
OPENING = 2
"""Tokens that a server may put before a text."""
STOPS = 4
"""Stop strings that the interface takes; further ones are looked for here."""
UNKNOWN = -1
"""The id of a token of which only the text is known."""
INSTEAD = (
    "What is written can still be compared; for scores serve the model with a server that echoes a prompt with them, "
    "such as vLLM's completions, or load it here"
)
SILENT = "Texts come without them if the server is given logprobs=False (&logprobs=false in its address)"
HELD_BACK = ("model", "tokenizer", "stop", "prompt", "blocks", "plan", "chat", "fit", "write", "shown")

_serial = itertools.count(start=-1, step=-1)  # below every model's


class Withheld(NotOffered, AttributeError):
    """What a system has and a server has not; ``hasattr`` says so."""


@dataclass(frozen=True)
class Server:
    """An endpoint and the model that it serves."""

    url: str
    """Up to the version, such as http://localhost:8000/v1."""
    serves: str
    """The model's name there."""
    chats: bool = False
    """Ask for texts as a user's message in a chat; scores are always of plain text."""
    logprobs: bool = True
    """Ask for the log-probabilities of what is written, which some servers refuse."""
    prefix: str = ""
    """What stands for an empty context, such as <|endoftext|>; the server must read it as its token."""
    key: str = "OPENAI_API_KEY"
    """Environment variable that holds the key, where the server wants one."""
    concurrency: int = 8
    """Requests at a time."""
    timeout: float = 120.0
    """Seconds until an answer is given up."""
    retries: int = 6
    """Times that a request is made again."""
    wait: float = 0.5
    """Seconds before the first repetition, doubled for each further one."""
    serial: int = field(default_factory=lambda: next(_serial), compare=False, repr=False)
    """Tells this server from every model of the process."""

    def __post_init__(self) -> None:
        _ = self._endpoint  # which looks at the rest
        if not self.serves:
            raise ValueError(f"say which model of {self.url} is meant, or find it with Server.at")

    @cached_property
    def _endpoint(self) -> Endpoint:
        url = self.url.rstrip("/")
        return Endpoint(url, self.key, self.concurrency, self.timeout, self.retries, self.wait)

    @staticmethod
    def at(address: str) -> "Server":
        """From one line: http://localhost:8000/v1?model=NAME, with further fields such as &chats=true. Without a model,
        the one that the server has."""
        parts = urlsplit(address)
        url = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        kinds: dict[str, Callable[[str], Any]] = {
            **{"model": str, "prefix": str, "key": str, "chats": _truth},
            **{"logprobs": _truth, "concurrency": int, "retries": int, "timeout": float, "wait": float},
        }
        for name in given.keys() - kinds.keys():  # the value may be a secret
            raise UnknownName(f"a server has no setting {name!r}{did_you_mean(name, kinds)}")
        settings = {name: kinds[name](value) for name, value in given.items()}
        serves = settings.pop("model", "")
        if not serves:
            names = Server(url, "?", **settings)._endpoint.listed()
            if len(names) != 1:
                raise UnknownName(f"{url} has the models {', '.join(names) or '(none)'}; add ?model=NAME")
            (serves,) = names
        return Server(url, serves, **settings)

    # What a system is asked for beside its answers --------------------------------------------------------------------

    @property
    def name(self) -> str:
        return f"{self.serves} at {urlsplit(self.url).netloc}"

    @property
    def source(self) -> str:
        """The line from which ``load`` makes this server."""
        told = {"model": self.serves}
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name not in ("url", "serves", "serial") and value != one.default:
                told[one.name] = str(value).lower() if isinstance(value, bool) else str(value)
        return f"server:{self.url}?{urlencode(told)}"

    @property
    def fingerprint(self) -> str:
        """Of address and name: what a cache keeps apart. The answers themselves say which model gave them."""
        return files.sha256(json.dumps([self._endpoint.url, self.serves]).encode())

    @property
    def precision(self) -> str:
        return "served"

    def __getattr__(self, name: str) -> Any:
        if name in HELD_BACK:
            raise Withheld(
                f"{self.name} is a server, which gives scores, texts and vectors but not its {name!r}; load the model "
                "here for that"
            )
        raise AttributeError(f"a Server has no {name!r}")

    # Scores -----------------------------------------------------------------------------------------------------------

    def scored(
        self,
        requests: Sequence[Request],
        *,
        batch_size: int = 16,
        cache: AnswerCache | None = None,
        bar: Bar | None = None,
    ) -> list[Scored]:
        """``scoring.score``; at most ``batch_size`` requests at a time."""
        asked = [self._moved(request) for request in requests]
        echoed = self._endpoint.answers(
            [self._echo(context + continuation) for context, continuation in asked], batch_size, cache, bar
        )
        starts = [_start(said["tokens"], asked[at][1]) for at, said in enumerate(echoed)]
        unseen = [at for at, start in enumerate(starts) if start is None]
        alone = self._endpoint.answers([self._echo(asked[at][0]) for at in unseen], batch_size, cache, None)
        contexts = dict(zip(unseen, (said["tokens"] for said in alone), strict=True))
        found = []
        for at, (said, request) in enumerate(zip(echoed, requests, strict=True)):
            before = contexts.get(at, said["tokens"][: starts[at]])
            start = len(before)
            logprobs = said["logprobs"][start:]
            if not logprobs:
                raise ValueError(
                    f"the continuation {request.continuation!r} adds no token to its context "
                    f"...{request.context[-40:]!r}; join the two differently"
                )
            if None in logprobs:
                raise NotOffered(
                    f"{self.name} gives no log-probability to the first token of a text; give each request a context, "
                    f"or the server a prefix, such as the token that its texts begin with ({PREFIX})"
                )
            if not all(math.isfinite(value) for value in logprobs):
                raise NotFinite(f"{self.name} gives no finite likelihood to {request.continuation[:60]!r}")
            likeliest = tuple(said["likeliest"][start:]) if said["likeliest"] is not None else ()
            found.append(
                Scored((UNKNOWN,) * len(logprobs), tuple(logprobs), likeliest, said["tokens"][:start] != before)
            )
        return found

    def _moved(self, request: Request) -> tuple[str, str]:
        """With spaces at the context's end in the continuation, and what stands for an empty context."""
        kept = request.context.rstrip()
        continuation = request.context[len(kept) :] + request.continuation
        if not continuation:
            raise ValueError(f"a continuation is empty (context ...{request.context[-40:]!r}); leave the request out")
        if not kept and not self.prefix:
            raise NotOffered(
                f"{self.name} was not told what stands for an empty context; give each request a context, or the "
                f"server a prefix, such as the token that its texts begin with ({PREFIX})"
            )
        return kept or self.prefix, continuation

    def _echo(self, text: str) -> Job:
        asked = {"prompt": text, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
        return self._job("completions", asked, lambda said: self._read_echo(said, text), INSTEAD)

    def _read_echo(self, said: Answer, text: str) -> Answer:
        """The tokens of the prompt, with the log-probability of each and whether it was the likeliest; the last token,
        which is not the prompt's, left out."""
        given = _choice(said).get("logprobs")
        if not isinstance(given, dict) or not given.get("token_logprobs") or not given.get("tokens"):
            raise self._no_scores("its answer has none")
        tokens, logprobs = given["tokens"], given["token_logprobs"]
        if len(tokens) != len(logprobs):
            raise BadAnswer(f"{len(tokens)} tokens have {len(logprobs)} log-probabilities")
        told = (said.get("usage") or {}).get("prompt_tokens")
        count = told if isinstance(told, int) else len(tokens) - 1
        if not any(_spell(tokens[first:count], text) for first in range(OPENING + 1)):
            raise self._no_scores(f"its tokens, {' '.join(map(repr, tokens[:4]))} ..., do not spell {text[:40]!r}")
        top = given.get("top_logprobs")
        likeliest = None
        if top and len(top) == len(tokens):
            best = [max(each.values()) if each else None for each in top[:count]]
            likeliest = [
                highest is not None and value is not None and value >= highest - 1e-6
                for value, highest in zip(logprobs, best, strict=False)
            ]
        return {
            "tokens": tokens[:count],
            "logprobs": logprobs[:count],
            "likeliest": likeliest,
        }

    def _no_scores(self, why: str) -> NotOffered:
        return NotOffered(f"{self.name} gives no log-probabilities of a prompt ({why}). {INSTEAD}")

    # Texts ------------------------------------------------------------------------------------------------------------

    def written(
        self,
        prompts: Sequence[Prompt],
        *,
        batch_size: int = 16,
        cache: AnswerCache | None = None,
        bar: Bar | None = None,
    ) -> list[Written]:
        """``writing.write``; what is drawn at a temperature is as reproducible as the server makes it."""
        said = self._endpoint.answers([self._writing(prompt) for prompt in prompts], batch_size, cache, bar)
        found = []
        for prompt, answer in zip(prompts, said, strict=True):
            text = answer["text"]
            stops = [at for stop in prompt.until if (at := text.find(stop)) >= 0]
            text = text[: min(stops)] if stops else text
            logprobs = tuple(answer["logprobs"])
            if not all(math.isfinite(value) for value in logprobs):
                raise NotFinite(f"{self.name} gives no finite likelihood to what it writes, {text[:60]!r}")
            found.append(Written(text, (UNKNOWN,) * len(logprobs), logprobs, bool(stops) or answer["finished"]))
        return found

    def _writing(self, prompt: Prompt) -> Job:
        asked: dict[str, Any] = {"max_tokens": prompt.limit, "temperature": prompt.temperature}
        if prompt.temperature:
            asked["seed"] = prompt.seed
        if prompt.until:
            asked["stop"] = list(prompt.until[:STOPS])
        if self.chats:
            message = {"role": "user", "content": prompt.context}
            asked |= {"messages": [message]} | ({"logprobs": True} if self.logprobs else {})
            return self._job("chat/completions", asked, self._read_chat, SILENT)
        if not (prompt.context or self.prefix):
            raise NotOffered(
                f"{self.name} was not told what stands for an empty context; give the server a prefix ({PREFIX})"
            )
        asked |= {"prompt": prompt.context or self.prefix} | ({"logprobs": 1} if self.logprobs else {})
        return self._job("completions", asked, self._read, SILENT)

    def _read(self, said: Answer) -> Answer:
        choice = _choice(said)
        given = choice.get("logprobs") or {}
        return _text(choice.get("text"), choice, list(given.get("token_logprobs") or []))

    def _read_chat(self, said: Answer) -> Answer:
        choice = _choice(said)
        given = (choice.get("logprobs") or {}).get("content") or []
        return _text((choice.get("message") or {}).get("content"), choice, [entry["logprob"] for entry in given])

    # Vectors ----------------------------------------------------------------------------------------------------------

    def embedded(
        self, texts: Sequence[str], *, pooling: Pooling = "mean", layer: int | None = None, batch_size: int = 16
    ) -> Tensor:
        """``embedding.embed``, pooled as the server does. Raises NotOffered where something else is asked for."""
        if pooling != "mean" or layer is not None:
            raise NotOffered(f"{self.name} pools as it does and shows no layers; leave pooling and layer out")
        parts = [list(texts[start : start + batch_size]) for start in range(0, len(texts), batch_size)]
        jobs = [self._job("embeddings", {"input": part}, _vectors(len(part))) for part in parts]
        rows = [row for said in self._endpoint.answers(jobs, self.concurrency, None, None) for row in said["vectors"]]
        if len({len(row) for row in rows}) != 1:
            raise BadAnswer(f"{self.name} gives vectors of {sorted({len(row) for row in rows})} numbers")
        found = torch.tensor(rows)
        if not found.isfinite().all():
            raise NotFinite(f"{self.name} gives a vector that is not finite")
        return found

    def _job(self, path: str, asked: dict[str, Any], read: Callable[[Answer], Answer], without: str = "") -> Job:
        return Job(path, json.dumps({"model": self.serves, **asked}), read, without)


def _truth(said: str) -> bool:
    if said not in ("true", "false"):
        raise ValueError(f"chats and logprobs are true or false, got {said!r}")
    return said == "true"


def _choice(said: Answer) -> Answer:
    """The one choice of an answer."""
    if not said.get("choices"):
        raise BadAnswer("there is no choice in it")
    return said["choices"][0]


def _text(text: Any, choice: dict[str, Any], logprobs: list[Any]) -> dict[str, Any]:
    if not isinstance(text, str):
        raise BadAnswer("there is no text in it")
    if None in logprobs:
        raise BadAnswer("a token that was written has no log-probability")
    return {"text": text, "finished": choice.get("finish_reason") == "stop", "logprobs": logprobs}


def _vectors(count: int) -> Callable[[Answer], Answer]:
    def read(said: Answer) -> Answer:
        found = {entry["index"]: entry["embedding"] for entry in said["data"]}
        if sorted(found) != list(range(count)):
            raise BadAnswer(f"{count} texts have the vectors {sorted(found)}")
        return {"vectors": [found[at] for at in range(count)]}

    return read


def _spell(tokens: Sequence[str], text: str) -> bool:
    """Whether tokens are those of the text. So many pieces of characters in a row, which show as U+FFFD, stand for at
    least one character and at most as many."""
    at, pieces = 0, 0
    for part in re.findall("\ufffd+|[^\ufffd]+", "".join(tokens)):
        if part[0] == "\ufffd":
            pieces = len(part)
            continue
        at = text.find(part, at + 1, at + pieces + len(part)) if pieces else at if text.startswith(part, at) else -1
        if at < 0:
            return False
        at, pieces = at + len(part), 0
    left = len(text) - at
    return 1 <= left <= pieces if pieces else left == 0


def _start(tokens: Sequence[str], continuation: str) -> int | None:
    """Which of the last tokens is the continuation's first; None where its characters do not tell."""
    spelt, at = "", len(tokens)
    while at and len(spelt) < len(continuation):
        at -= 1
        spelt = tokens[at] + spelt
    return at if spelt == continuation else None
