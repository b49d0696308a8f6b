"""Sends HTTP requests to model servers and returns whole replies.

aiohttp, because a judge receives thousands of calls, and each one through httpx 0.28 takes four times the CPU time.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from reer.models.http.errors import Unavailable
from reer.secrets import Redactor

if TYPE_CHECKING:
    import aiohttp

# uvicorn, behind vLLM and SGLang, closes idle connections after five seconds: closing earlier avoids half-closed ones
IDLE_SECONDS = 4.0
CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Reply:
    """An HTTP reply. `whole` is False where it is longer than allowed: `body` is then its beginning."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool = True

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


class Transport(Protocol):
    """Sends one HTTP request; `seconds` bounds it from its first byte to the last of the reply, and at most `max_bytes`
    of a reply are read. Both methods raise Unavailable for a broken connection or a passed deadline."""

    async def request(self, method: str, url: str, payload: bytes, seconds: float, max_bytes: int) -> Reply:
        """Send JSON, or no body where `payload` is empty."""
        ...

    async def upload(self, url: str, form: Mapping[str, str], content: bytes, seconds: float, max_bytes: int) -> Reply:
        """Send JSON lines as the file of a form."""
        ...


class Connection:
    """A pool of connections without a bound of its own: its users bound the calls in flight. See `Transport`. The key
    that it sends is redacted from all replies and errors."""

    def __init__(self, session: aiohttp.ClientSession, redactor: Redactor) -> None:
        self._session, self._redactor = session, redactor
        self._proxy = cache(_proxy)  # reads the environment once per address, not at each call

    @classmethod
    async def opened(cls, headers: Mapping[str, str], key: str, timeout_seconds: float) -> Connection:
        """An open session that sends these headers, among them the `key`. It follows no redirects, keeps no cookies,
        does not read ~/.netrc, and asks for replies that are not compressed, whose size is then known."""
        import aiohttp

        return cls(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={**headers, "Accept-Encoding": "identity"},
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(sock_connect=min(CONNECT_SECONDS, timeout_seconds)),
            ),
            Redactor([key, *_proxy_passwords()]),
        )

    async def close(self) -> None:
        await self._session.close()

    async def request(self, method: str, url: str, payload: bytes, seconds: float, max_bytes: int) -> Reply:
        headers = {"Content-Type": "application/json"} if payload else {}
        return await self._send(method, url, payload or None, headers, seconds, max_bytes)

    async def upload(self, url: str, form: Mapping[str, str], content: bytes, seconds: float, max_bytes: int) -> Reply:
        import aiohttp

        data = aiohttp.FormData(dict(form))
        data.add_field("file", io.BytesIO(content), filename="requests.jsonl", content_type="application/jsonl")
        return await self._send("POST", url, data, {}, seconds, max_bytes)

    async def _send(
        self,
        method: str,
        url: str,
        data: bytes | aiohttp.FormData | None,
        headers: Mapping[str, str],
        seconds: float,
        max_bytes: int,
    ) -> Reply:
        import aiohttp

        request = self._session.request(
            method, url, data=data, headers=headers, allow_redirects=False, proxy=self._proxy(url)
        )
        try:
            async with asyncio.timeout(seconds), request as reply:
                body, whole = await _beginning(reply.content, max_bytes)
                return Reply(reply.status, reply.headers, self._redactor.redact_bytes(body), whole)
        except aiohttp.ClientError as error:
            unsent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
            why = self._redactor.redact(f"{type(error).__name__}: {error}")
            raise Unavailable(why, not_executed=unsent) from None
        except TimeoutError:
            raise Unavailable(f"no whole answer within {seconds:g} s") from None


async def _beginning(stream: aiohttp.StreamReader, max_bytes: int) -> tuple[bytes, bool]:
    """The first `max_bytes` of a body, and whether they are all of it."""
    body = bytearray()
    async for chunk in stream.iter_any():
        body += chunk
        if len(body) > max_bytes:
            return bytes(body[:max_bytes]), False
    return bytes(body), True


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for an address."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


def _proxy_passwords() -> list[str]:
    """The passwords of the proxies that the environment names: the error of a connection may repeat their address."""
    passwords = [urlsplit(address).password for address in getproxies().values()]
    return [spelling for password in passwords if password for spelling in (password, unquote(password))]
