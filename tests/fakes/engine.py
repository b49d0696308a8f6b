"""A program that starts like `vllm serve` or `sglang.launch_server` and speaks enough of their HTTP, without a model.

Run as a file, by an interpreter that has nothing installed: engines have environments of their own. Log-probabilities
are a function of the last tokens, so the same for generated and for scored tokens. Options before those of the run make
it fail: `--exit` at once, `--shifted` scores by one position, `--stray` also starts a process in a session of its own.
Others make it slow: `--delays` by some hundredths of a second that differ between completions, `--hold N` answers the
first completion, or the one of number `--held`, after N others.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Sequence
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PRINTABLE = range(35, 60)  # ids that are letters or punctuation for the tiny model's tokenizer
MEMORY = 3  # tokens that the next one depends on
HELD_SECONDS = 10.0


def hashed(*parts: object) -> int:
    return zlib.crc32(json.dumps(parts).encode())


def logprob(before: Sequence[int], token: int) -> float:
    """Between -1 and -3 nats."""
    return _logprob(tuple(before[-MEMORY:]), token)


@cache
def _logprob(before: tuple[int, ...], token: int) -> float:
    return -1.0 - hashed(before, token) % 2000 / 1000


def likeliest(before: Sequence[int]) -> int:
    return _likeliest(tuple(before[-MEMORY:]))


@cache
def _likeliest(before: tuple[int, ...]) -> int:
    return max(PRINTABLE, key=lambda token: _logprob(before, token))


def written(ids: Sequence[int], limit: int, settings: dict[str, Any], seed: int) -> tuple[list[int], str]:
    """A completion that depends on prompt and seed, or on the prompt alone at temperature 0."""
    seed = seed if settings["temperature"] else 0
    wanted = 3 + hashed(list(ids), seed) % 12
    out: list[int] = []
    while len(out) < min(limit, wanted):
        before = [*ids, *out]
        out.append(PRINTABLE[hashed(before, seed) % len(PRINTABLE)] if settings["temperature"] else likeliest(before))
    if len(out) < limit and settings.get("stop_token_ids"):
        return [*out, settings["stop_token_ids"][0]], "stop"
    return out, "length"


class Pace:
    """How long a completion takes."""

    def __init__(self, delays: bool, hold: int, held: int = 1) -> None:
        self.delays, self.hold, self.held, self.asked, self.answered = delays, hold, held, 0, 0
        self.changed = threading.Condition()

    def wait(self, ids: Sequence[int]) -> None:
        """Wait before a completion is answered. A server whose held one waits in vain dies."""
        with self.changed:
            self.asked += 1
            if self.asked == self.held and not self.changed.wait_for(lambda: self.answered >= self.hold, HELD_SECONDS):
                os._exit(4)
            self.answered += 1
            self.changed.notify_all()
        if self.delays:
            time.sleep(hashed(list(ids), "delay") % 50 / 1000)


class Handler(BaseHTTPRequestHandler):
    key, shifted, pace = "", False, Pace(False, 0)

    def log_message(self, format: str, *args: Any) -> None:
        print(self.path, flush=True)

    def do_GET(self) -> None:
        self._reply({"data": [{"id": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answers = {"/generate": self._generate, "/inference/v1/generate": self._scores_of_tokens}
        self._reply(answers.get(self.path, self._completions)(body))

    def _scores_of_tokens(self, body: dict[str, Any]) -> dict[str, Any]:
        rows = [None, *self._scored(body["token_ids"], 1)]
        return {"prompt_logprobs": rows, "usage": {"prompt_tokens_details": {"cached_tokens": 0}}}

    def _completions(self, body: dict[str, Any]) -> dict[str, Any]:
        ids = body["prompt"]
        if "prompt_logprobs" in body:
            return {"choices": [{"prompt_logprobs": [None, *self._scored(ids, 1)]}]}
        if "logprobs" in body:
            token = likeliest(ids)
            logprobs = {"tokens": [f"token_id:{token}"], "token_logprobs": [logprob(ids, token)]}
            return {"choices": [{"logprobs": logprobs}]}
        self.pace.wait(ids)
        out, reason = written(ids, body["max_tokens"], body, body["seed"])
        return {"choices": [{"token_ids": out, "finish_reason": reason}]}

    def _scored(self, ids: Sequence[int], first: int) -> list[dict[str, Any]]:
        rows = []
        for at in range(first, len(ids)):
            value = logprob(ids[max(0, at - MEMORY) : at + self.shifted], ids[at])
            rank = 1 if likeliest(ids[max(0, at - MEMORY) : at]) == ids[at] else 2
            rows.append({str(ids[at]): {"logprob": value, "rank": rank}})
        return rows

    def _generate(self, body: dict[str, Any]) -> dict[str, Any]:
        ids, settings = body["input_ids"], body["sampling_params"]
        if "logprob_start_len" in body:
            start = body["logprob_start_len"] + 1
            rows = [
                [next(iter(r.values()))["logprob"], ids[start + n], None]
                for n, r in enumerate(self._scored(ids, start))
            ]
            befores = [ids[max(0, at - MEMORY) : at] for at in range(start, len(ids))]
            top = [[[logprob(before, likeliest(before)), likeliest(before), None]] for before in befores]
            return {"meta_info": {"input_token_logprobs": [[None, 0, None], *rows], "input_top_logprobs": [None, *top]}}
        if "return_logprob" in body:
            token = likeliest(ids)
            return {"meta_info": {"output_token_logprobs": [[logprob(ids, token), token, None]]}}
        self.pace.wait(ids)
        out, reason = written(ids, settings["max_new_tokens"], settings, settings["sampling_seed"])
        return {"output_ids": out, "meta_info": {"finish_reason": {"type": reason}}}

    def _reply(self, content: dict[str, Any]) -> None:
        allowed = self.headers.get("Authorization") == f"Bearer {self.key}"
        raw = json.dumps(content if allowed else {"error": "unauthorized"}).encode()
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


def main() -> None:
    parser = argparse.ArgumentParser()
    for flag in ("--exit", "--shifted", "--stray", "--delays"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--hold", type=int, default=0)
    parser.add_argument("--held", type=int, default=1)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--config", type=Path)
    given, _ = parser.parse_known_args()
    if given.exit:
        print("CUDA out of memory")
        sys.exit(3)
    if given.stray:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    secret = json.loads(given.config.read_text())["api-key"] if given.config else os.environ["VLLM_API_KEY"]
    Handler.key, Handler.shifted, Handler.pace = secret, given.shifted, Pace(given.delays, given.hold, given.held)
    time.sleep(0.05)
    ThreadingHTTPServer(("127.0.0.1", given.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
