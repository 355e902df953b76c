"""A small server with an OpenAI-compatible interface, which serves a local model and can misbehave."""

import json
import threading
import time
from collections import deque
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch

from trivium.models.embedding import embed
from trivium.models.system import System
from trivium.models.writing import Prompt, write


class Endpoint(ThreadingHTTPServer):
    """``faults``: what happens to the next requests, one each: a status with headers and a body, raw bytes in place of
    the answer, a change of it (a function of the answer), or seconds to wait."""

    daemon_threads = True

    def __init__(self, system: System, opening: str = "") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.system, self.opening = system, opening
        self.faults: deque[Any] = deque()
        self.asked: list[tuple[str, dict, dict]] = []
        self.at: list[float] = []
        self.most = self.now = 0
        self.names = ["small"]
        self.lock = threading.Lock()
        self.slow = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def answer(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        head = {"model": asked["model"], "system_fingerprint": "fp_1"}
        if path == "embeddings":
            found = embed(self.system, asked["input"])
            data = [{"index": n, "embedding": row.tolist()} for n, row in enumerate(found)]
            return head | {"data": data[::-1]}
        text = asked["messages"][0]["content"] if path.startswith("chat") else asked["prompt"]
        until = tuple(asked.get("stop", ()))
        prompt = Prompt(text, until, asked["max_tokens"], asked["temperature"], asked.get("seed", 0))
        if asked.get("echo"):
            return head | self.echo(text)
        (made,) = write(self.system, [prompt])
        finish = "stop" if made.finished else "length"
        if path.startswith("chat"):
            logprobs = {"content": [{"token": "?", "logprob": value} for value in made.logprobs]}
            return head | {
                "choices": [
                    {"message": {"content": made.text}, "finish_reason": finish, "logprobs": logprobs},
                ]
            }
        return head | {
            "choices": [
                {"text": made.text, "finish_reason": finish, "logprobs": {"token_logprobs": list(made.logprobs)}}
            ]
        }

    def echo(self, text: str) -> dict[str, Any]:
        """The prompt's tokens and one more."""
        tokenizer, model = self.system.tokenizer, self.system.model
        ids = tokenizer.encode(self.opening + text)
        with torch.no_grad():
            logp = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        ids.append(int(logp[-1].argmax()))
        tokens = [tokenizer.spelt([id]) for id in ids]
        values = [None] + [float(logp[at, id]) for at, id in enumerate(ids[1:])]
        top = [None] + [{tokenizer.spelt([int(row.argmax())]): float(row.max())} for row in logp]
        offsets = [sum(map(len, tokens[:at])) for at in range(len(tokens))]
        logprobs = {"tokens": tokens, "token_logprobs": values, "top_logprobs": top, "text_offset": offsets}
        return {
            "choices": [{"text": text, "finish_reason": "length", "logprobs": logprobs}],
            "usage": {"prompt_tokens": len(ids) - 1},
        }


class Handler(BaseHTTPRequestHandler):
    server: Endpoint
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send(200, {}, json.dumps({"data": [{"id": name} for name in self.server.names]}).encode())

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.path.removeprefix("/v1/")
        with self.server.lock:
            self.server.asked.append((path, asked, dict(self.headers)))
            self.server.at.append(time.monotonic())
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
            fault = self.server.faults.popleft() if self.server.faults else None
        try:
            time.sleep(self.server.slow)
            if isinstance(fault, tuple):
                self.send(*fault)
            elif isinstance(fault, bytes):
                self.send(200, {}, fault)
            else:
                if isinstance(fault, float):
                    time.sleep(fault)
                with self.server.lock:
                    said = self.server.answer(path, asked)
                said = fault(said) if callable(fault) else said
                self.send(200, {}, json.dumps(said).encode())
        finally:
            with self.server.lock:
                self.server.now -= 1

    def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        try:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        except OSError:  # the client has given up
            self.close_connection = True

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serving(system: System, opening: str = ""):
    """The endpoint, answering within the block."""
    endpoint = Endpoint(system, opening)
    thread = threading.Thread(target=endpoint.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.shutdown()
        endpoint.server_close()
        thread.join()
