"""A stand-in for a vLLM replica with the plugin: the same HTTP and server-sent events, answered by our own model.

It has a cache of items, a prefix cache, a context limit, a key and a queue, and fails on demand. The tests in
tests/vllm check that a real replica behaves the same.
"""

import argparse
import base64
import io
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import RepetitionPenaltyLogitsProcessor

from longva_demo.chat import LocalEngine
from longva_demo.chat.json_schema import SchemaMask, check_schema
from longva_demo.chat.kv_cache import GrowingCache
from longva_demo.chat.prefill import image_chunks
from longva_demo.errors import DemoError
from longva_demo.model import load
from longva_demo.settings import Settings

PLACE = "<|endoftext|>"
MAX_PREFIXES = 12
PLUGIN_ARGUMENTS = ("answer_penalty", "answer_so_far", "forced_ids")


class Refused(Exception):
    """An error as vLLM reports it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Replica:
    """What a replica does with a request, without HTTP.

    Attributes:
        name: of the model, as with --served-model-name.
        key: as with --api-key; "" for none.
        has_plugin: without it, the plugin's arguments are ignored.
        faults: what the next requests run into, in this order: "500", "busy" (429), "break" (after five tokens),
            "cut" (before the end of the stream), "forget" (items and prefixes are gone).
        token_seconds: how long a token takes at least.
        requests: the bodies of the requests for tokens.
        num_running: requests that are being answered.
    """

    def __init__(self, engine: LocalEngine, name: str = "tiny", key: str = "", has_plugin: bool = True) -> None:
        self.engine, self.name, self.key, self.has_plugin = engine, name, key, has_plugin
        self.faults: list[str] = []
        self.requests: list[dict[str, Any]] = []
        self.sessions: list[str] = []
        self.token_seconds = 0.0
        self.num_running = 0
        self.context_length = engine.model.context_length
        [self.place] = engine.processor.encode_text(PLACE, allow_special=True)
        self._items: dict[str, torch.Tensor] = {}  # features (tokens, dim)
        self._prefixes: list[tuple[list[object], GrowingCache]] = []  # with the parts of each prompt
        self._lock = threading.Lock()

    def take_fault(self, *kinds: str) -> str:
        """The next fault, if it is one of these; "" otherwise."""
        with self._lock:
            return self.faults.pop(0) if self.faults and self.faults[0] in kinds else ""

    def forget(self) -> None:
        """As if it had been restarted."""
        with self._lock:
            self._items.clear()
            self._prefixes.clear()

    def check(self, body: dict[str, Any]) -> None:
        """Raises Refused: what vLLM refuses before it begins."""
        if self.take_fault("500"):
            raise Refused(500, "Internal server error")
        if self.take_fault("busy"):
            raise Refused(429, "Too many requests")
        if self.take_fault("forget"):
            self.forget()
        if schema := (body["sampling_params"].get("structured_outputs") or {}).get("json"):
            try:
                check_schema(schema)
            except DemoError as error:
                raise Refused(400, f"Grammar error: {error}") from None
        if body["model"] != self.name:
            raise Refused(404, f"The model `{body['model']}` does not exist.")

    def prompt(self, body: dict[str, Any]) -> list[object]:
        """The parts of the prompt: token ids, and the uuid of each item in its place."""
        uuids = [self._keep(number, part) for number, part in enumerate(body.get("content_parts") or [])]
        if body["token_ids"].count(self.place) != len(uuids):
            raise Refused(400, "Failed to apply prompt replacement for mm_items")
        left = iter(uuids)
        return [next(left) if token == self.place else token for token in body["token_ids"]]

    def num_tokens(self, prompt: Sequence[object]) -> int:
        return sum(len(self._items[part]) if isinstance(part, str) else 1 for part in prompt)

    def answer(self, body: dict[str, Any], prompt: list[object]) -> Iterator[tuple[int, float] | int]:
        """First the number of cached tokens, then (token id, log-probability)."""
        engine, params = self.engine, body["sampling_params"]
        length = self.num_tokens(prompt)
        if length + params["max_tokens"] > self.context_length:
            raise Refused(400, f"This model's maximum context length is {self.context_length} tokens.")
        salt = body.get("cache_salt", "")
        cache, num_parts = self._cached(salt, prompt, length + params["max_tokens"])
        yield cache.get_seq_length()
        logits = self._prefill(prompt[num_parts:], cache)
        with self._lock:
            self._prefixes.append(([salt, *prompt], engine.copy_cache(cache, length, length)))
            del self._prefixes[:-MAX_PREFIXES]
        extra = (params.get("extra_args") or {}) if self.has_plugin else {}
        forced = extra.get("forced_ids") or []
        count = extra.get("answer_so_far", 0)
        history = body["token_ids"][len(body["token_ids"]) - count :] if count else []
        penalise = RepetitionPenaltyLogitsProcessor(extra.get("answer_penalty", 1.0))
        schema, chosen = (params.get("structured_outputs") or {}).get("json"), list[int]()
        mask = SchemaMask(engine.processor, engine.stop_ids, len(logits), schema) if schema else None
        for number in range(params["max_tokens"]):
            if number:
                time.sleep(self.token_seconds)
                logits = engine.prefill_text([history[-1]], cache)
            scores = logits[None].clone()
            if mask is not None:
                scores = mask(torch.tensor([chosen], dtype=torch.long), scores)  # type: ignore[arg-type]
            scores = penalise(torch.tensor([history], dtype=torch.long), scores)[0]
            token = forced[number] if number < len(forced) else int(scores.argmax())
            history, chosen = [*history, token], [*chosen, token]
            yield token, float(logits.log_softmax(-1)[token])
            if token in (params.get("stop_token_ids") or ()) and not params.get("ignore_eos"):
                return

    def _keep(self, number: int, part: dict[str, Any]) -> str:
        """Encode an item that came with its data. Returns its uuid."""
        if part["url"] is None:
            if part["uuid"] not in self._items:
                kind = part["type"].removesuffix("_url")
                raise Refused(400, f"Cache miss for {kind} at index {number} but data is not provided.")
            return part["uuid"]
        data = base64.b64decode(part["url"].partition("base64,")[2])
        self._items[part["uuid"]] = self._encode(part["type"], data).flatten(0, -2)
        return part["uuid"]

    def _encode(self, kind: str, data: bytes) -> torch.Tensor:
        if kind == "video_url":
            return self.engine.encode_frames(np.load(io.BytesIO(data), allow_pickle=False))
        slots = self.engine.processor.preprocess_image(Image.open(io.BytesIO(data)))
        model = self.engine.loaded.model
        with torch.inference_mode():
            parts = [model.encode_image(self.engine._to_device(chunk)) for chunk in image_chunks(slots)]
        return torch.cat(parts)

    def _cached(self, salt: str, prompt: list[object], capacity: int) -> tuple[GrowingCache, int]:
        """A cache with the longest known start of the prompt, and how many parts that is; never all of them."""
        with self._lock:
            known = list(self._prefixes)

        def num_common(parts: list[object]) -> int:
            pairs = zip(parts, [salt, *prompt[:-1]], strict=False)
            return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

        parts, cache = max(known, key=lambda entry: num_common(entry[0]), default=([], None))
        common = num_common(parts) - 1  # without the salt
        if cache is None or common < 1:
            return self.engine.new_cache(capacity), 0
        return self.engine.copy_cache(cache, self.num_tokens(prompt[:common]), capacity), common

    def _prefill(self, parts: Sequence[object], cache: GrowingCache) -> torch.Tensor:
        """Append parts; the logits after the last one. After frames nobody reads them."""
        logits = torch.zeros(self.engine.loaded.model.config.vocab_size)
        text: list[int] = []
        for part in (*parts, None):
            if isinstance(part, int):
                text.append(part)
                continue
            if text:
                logits, text = self.engine.prefill_text(text, cache), []
            if isinstance(part, str):
                self.engine.prefill_frames([self._items[part][None]], cache)
        return logits


@contextmanager
def serving(replica: Replica, port: int = 0) -> Iterator[str]:
    """The URL of a server for `replica`, on a free port unless one is given."""

    class Handler(ReplicaHandler):
        served = replica

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class ReplicaHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Replica

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def send(self, status: int, value: Any) -> None:
        raw = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("Connection", "close")  # a stopped server must not answer on an open connection
        self.end_headers()
        self.wfile.write(raw)

    def refuse(self, error: Refused) -> None:
        self.send(error.status, {"error": error_values(error)})

    def is_allowed(self) -> bool:
        return not self.served.key or self.headers.get("Authorization") == f"Bearer {self.served.key}"

    def do_GET(self) -> None:
        if self.path == "/health":
            self.send(200, {})
        elif self.path != "/v1/models":
            self.send(404, {"detail": "Not Found"})
        elif not self.is_allowed():
            self.send(401, {"error": "Unauthorized"})
        else:
            card = {"id": self.served.name, "object": "model", "max_model_len": self.served.context_length}
            self.send(200, {"object": "list", "data": [card]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/inference/v1/generate":
            return self.send(404, {"detail": "Not Found"})
        if not self.is_allowed():
            return self.send(401, {"error": "Unauthorized"})
        self.served.requests.append(body)
        self.served.sessions.append(self.headers.get("X-Session-ID", ""))
        self.served.num_running += 1
        try:
            self.served.check(body)
            self.stream(body, self.served.prompt(body))
        except Refused as error:
            self.refuse(error)
        except OSError:  # the client has left
            self.close_connection = True
        finally:
            self.served.num_running -= 1
        return None

    def stream(self, body: dict[str, Any], prompt: list[object]) -> None:
        fault = self.served.take_fault("break", "cut")
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        stops = set(body["sampling_params"].get("stop_token_ids") or ())
        cached, count = 0, 0
        try:
            for event in self.served.answer(body, prompt):
                if isinstance(event, int):
                    cached = event
                    continue
                if fault == "break" and count == 5:
                    return
                token, log_probability = event
                self.event({"choices": [choice(token, log_probability, "stop" if token in stops else None)]})
                count += 1
        except Refused as error:  # as vLLM: the status has been sent
            self.event({"error": error_values(error)})
        else:
            if fault == "cut":
                return
            details = {"cached_tokens": cached}
            usage = {"prompt_tokens": self.served.num_tokens(prompt), "prompt_tokens_details": details}
            self.event({"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, value: Any) -> None:
        self.wfile.write(f"data: {json.dumps(value)}\n\n".encode())
        self.wfile.flush()


def error_values(error: Refused) -> dict[str, Any]:
    return {"message": str(error), "type": "BadRequestError", "param": None, "code": error.status}


def choice(token: int, log_probability: float, reason: str | None) -> dict[str, Any]:
    logprobs = {"content": [{"token": f"token_id:{token}", "logprob": log_probability}]}
    return {"index": 0, "token_ids": [token], "logprobs": logprobs, "finish_reason": reason}


def main() -> None:
    """Serve the built-in model until interrupted."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key", default="")
    options = parser.parse_args()
    with serving(Replica(LocalEngine(load("tiny"), Settings()), key=options.key), options.port) as address:
        print(address, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
