"""A scripted judge server in its own process, with latency, a concurrency limit and a share of failing attempts.

`python -m tests.fakes.judge_server PORT LIMIT LATENCY_SECONDS FAILING` answers `/chat/completions`; `GET /counts`
reports its counts. Failing attempts are drawn from a fixed seed, so that every client meets the same number.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass


@contextmanager
def judge_server(limit: int, latency_seconds: float, failing: float = 0.0) -> Iterator[str]:
    """The address of such a server, which runs as long as the context."""
    settings = ["0", str(limit), str(latency_seconds), str(failing)]
    command = [sys.executable, "-m", "tests.fakes.judge_server", *settings]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().split()[-1]
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@dataclass
class Counts:
    """Attempts: `answered` with a verdict, `limited` as over the limit, `failed` by the script (`held` of them occupied
    a slot as long as an answer does); the current and the highest concurrency."""

    answered: int = 0
    limited: int = 0
    failed: int = 0
    held: int = 0
    at_once: int = 0
    most_at_once: int = 0


class Judge:
    def __init__(self, limit: int, latency_seconds: float, failing: float) -> None:
        self.limit, self.latency_seconds, self.failing = limit, latency_seconds, failing
        self.counts, self.draw = Counts(), random.Random(5)

    async def answer(self) -> tuple[int, dict[str, object]]:
        if self.counts.at_once >= self.limit:
            self.counts.limited += 1
            return 429, {"error": "too many at once"}
        self.counts.at_once += 1
        self.counts.most_at_once = max(self.counts.most_at_once, self.counts.at_once)
        try:
            chance = self.draw.random()
            if chance < self.failing / 2:
                self.counts.failed += 1
                return 429, {"error": "slow down"}
            await asyncio.sleep(self.latency_seconds)
            if chance < self.failing:
                self.counts.failed += 1
                self.counts.held += 1
                return 500, {"error": "oh"}
            self.counts.answered += 1
            message = {"role": "assistant", "content": '{"score": 7, "reason": "scripted"}'}
            usage = {"prompt_tokens": 90, "completion_tokens": 12}
            return 200, {
                "choices": [{"message": message, "finish_reason": "stop"}],
                "usage": usage,
                "model": "scripted",
            }
        finally:
            self.counts.at_once -= 1

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    (int(h[15:]) for h in head.decode().lower().split("\r\n") if h[:15] == "content-length:"), 0
                )
                await reader.readexactly(length)
                status, body = (200, asdict(self.counts)) if head.startswith(b"GET") else await self.answer()
                raw = json.dumps(body).encode()
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def main(port: int, limit: int, latency_seconds: float, failing: float) -> None:
    server = await asyncio.start_server(Judge(limit, latency_seconds, failing).serve, "127.0.0.1", port, backlog=512)
    print(f"listening on {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
