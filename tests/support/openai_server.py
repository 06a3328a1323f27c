"""A local server that speaks OpenAI's chat protocol and misbehaves as endpoints do: 429, 500, hangs, cut connections, bad JSON.

Its answers depend on the words it gets alone. `with OpenAIServer(faults=0.2, broken=0.05) as server:` in tests; as a process
of its own: `python tests/support/openai_server.py --latency 0.2`, which prints its address.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class OpenAIServer:
    """Serves on 127.0.0.1 in threads of its own.

    Attributes:
        requests: bodies of all calls, in order. headers: of the last call.
        kinds: how many calls were answered how.
        answer, logprobs: of a request's body, the words and, where they are asked for, what `logprobs.content` holds.
        refusal: of a request's body, why it is answered with 400; None if it is not.
        finish: every answer's `finish_reason`. half: whether every answer is half of its JSON.
        most_in_flight: calls at once, at most; a call that hangs counts as long as its client waits.
    """

    def __init__(
        self,
        *,
        faults: float = 0.0,
        broken: float = 0.0,
        latency: float = 0.0,
        hang: float = 1.0,
        seed: int = 0,
        status: int | None = None,
        answer: Any = None,
        logprobs: Any = None,
        refusal: Any = None,
        finish: str = "stop",
        half: bool = False,
    ) -> None:
        self.faults, self.broken, self.latency, self.hang = faults, broken, latency, hang
        self.status, self.answer = status, answer or truthful
        self.logprobs, self.refusal, self.finish, self.half = logprobs, refusal, finish, half
        self.requests: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        self.kinds: Counter[str] = Counter()
        self.most_in_flight = self._in_flight = 0
        self._random, self._lock = random.Random(seed), threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # or each answer waits 40 ms for an acknowledgement

            def do_POST(self) -> None:
                server._serve(self)

            def log_message(self, *arguments: Any) -> None:
                return None

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request: Any, client_address: Any) -> None:
                return None  # clients that were killed

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> OpenAIServer:
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            self.requests.append(body)
            self.headers = {name.lower(): value for name, value in handler.headers.items()}
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
            kind = self._kind(body)
            self.kinds[kind] += 1
        left = False
        try:
            if self.latency:
                time.sleep(self.latency)
            if kind == "hang":
                time.sleep(self.hang)
            reply = {
                "id": "x", "object": "chat.completion", "created": 0, "model": body["model"],
                "choices": [{"index": 0, "finish_reason": self.finish, "message": {"role": "assistant", "content": ""}}],
            }  # fmt: skip
            text = self.answer(body)
            if kind == "broken":
                text = text[: len(text) // 2] if len(text) % 2 else '{"pairs": [{"question": 3}]}'
            reply["choices"][0]["message"]["content"] = text  # type: ignore[index]
            if body.get("logprobs") and self.logprobs is not None:
                reply["choices"][0]["logprobs"] = {"content": self.logprobs(body)}  # type: ignore[index]
            status = int(kind) if kind.isdigit() else self.status or 200
            why = self.refusal(body) if self.refusal is not None else None
            status = 400 if why else status
            said = why or f"no: {dict(handler.headers)}"
            data = json.dumps(reply if status == 200 else {"error": {"message": said}}).encode()
            if self.half:
                data = data[: len(data) // 2]  # whole as HTTP has it
            with self._lock:
                self._in_flight -= 1
                left = True
            handler.send_response(status)
            if status == 429:
                handler.send_header("Retry-After", "0.05")
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(data)))
            handler.end_headers()
            handler.wfile.write(data[: len(data) // 2] if kind == "cut" else data)
            handler.wfile.flush()
            handler.close_connection = handler.close_connection or kind in ("cut", "hang")
        finally:
            if not left:
                with self._lock:
                    self._in_flight -= 1

    def _kind(self, body: dict[str, Any]) -> str:
        if self._random.random() < self.faults:
            return self._random.choice(["429", "500", "hang", "cut"])
        digest = hashlib.sha256(json.dumps([body["messages"], body.get("seed")]).encode()).digest()
        return "broken" if int.from_bytes(digest[:4], "big") / 2**32 < self.broken else "good"


def words_of(body: dict[str, Any]) -> str:
    """The user's words of a request, without the picture."""
    content = body["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content if part["type"] == "text")


def truthful(body: dict[str, Any]) -> str:
    """What an obedient assistant answers: pairs that repeat the truth in the prompt, rewrites, judgements."""
    words = words_of(body)
    if "answers_the_question" in words:
        return json.dumps({"answers_the_question": "weather" not in words, "reason": "it does"})
    count = int(re.search(r"Write (\d+) different", words)[1])  # type: ignore[index]
    given = re.search(r"The given pair: (\{.*\})", words)
    if given:
        answer = json.loads(given[1])["answer"]
        pairs = [{"question": f"Once more, question {i}?", "answer": f"{'Yes, ' * (i + 1)}{answer}"} for i in range(count)]
        return json.dumps({"pairs": pairs})
    kind = re.search(r"presentation type: ([A-Za-z ]+):", words)
    task = re.search(r"Task: (\w+)", words)[1]  # type: ignore[index]
    box = re.search(r"box of the attack: (.*)", words)
    if task == "caption" or kind is None:
        answer = "A face before a wall."
    elif kind[1] == "Bonafide":
        answer = "This face is bona fide."
    elif task == "localization":
        answer = f"The attack is at {box[1]}." if box else "I see no box."
    else:
        answer = f"This is a {kind[1]} attack."
    return json.dumps({"pairs": [{"question": f"Question {i} of {task}?", "answer": answer} for i in range(count)]})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=float, default=0.0)
    parser.add_argument("--broken", type=float, default=0.0)
    parser.add_argument("--latency", type=float, default=0.2)
    options = vars(parser.parse_args())
    with OpenAIServer(**options) as running:
        print(running.url, flush=True)
        threading.Event().wait()
