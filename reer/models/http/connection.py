"""Connections to model servers: bytes out, bytes in, and what broke on the way.

aiohttp, because a judge is asked thousands of times and each call through httpx 0.28 takes four times the CPU time.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from reer.models.http.errors import Down

if TYPE_CHECKING:
    import aiohttp

IDLE_SECONDS = 4.0  # uvicorn, behind vLLM and SGLang, closes after five; who closes first meets no half-closed one
CONNECT_SECONDS = 10.0
NAMED = "Content-Disposition: form-data; "


@dataclass(frozen=True)
class Reply:
    """What came back, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


class Connection:
    """As many connections as are in use together; who asks bounds their number."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._proxy = cache(_proxy)  # the environment is read once for an address, not at each call

    @classmethod
    async def opened(cls, headers: Mapping[str, str], timeout_seconds: float) -> Connection:
        """Ready to connect. Redirects are not followed, cookies not kept, and a ~/.netrc is not read."""
        import aiohttp

        return cls(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=headers,
                timeout=aiohttp.ClientTimeout(sock_connect=min(CONNECT_SECONDS, timeout_seconds)),
            )
        )

    async def close(self) -> None:
        await self._session.close()

    async def request(self, method: str, url: str, payload: bytes, seconds: float) -> Reply:
        """Ask with JSON, or with nothing; `seconds` from the first byte to the last. Raises Down."""
        sent = {"data": payload, "headers": {"Content-Type": "application/json"}} if payload else {}
        return await self._send(method, url, sent, seconds)

    async def upload(self, url: str, form: Mapping[str, str], content: bytes, seconds: float) -> Reply:
        """Send JSON lines as a file of a form. Raises Down."""
        boundary = uuid.uuid4().hex
        fields = [f'--{boundary}\r\n{NAMED}name="{name}"\r\n\r\n{value}\r\n' for name, value in form.items()]
        file = (
            f'--{boundary}\r\n{NAMED}name="file"; filename="requests.jsonl"\r\nContent-Type: application/jsonl\r\n\r\n'
        )
        payload = "".join((*fields, file)).encode() + content + f"\r\n--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return await self._send("POST", url, {"data": payload, "headers": headers}, seconds)

    async def _send(self, method: str, url: str, sent: dict[str, Any], seconds: float) -> Reply:
        import aiohttp

        asked = self._session.request(method, url, allow_redirects=False, proxy=self._proxy(url), **sent)
        try:
            async with asyncio.timeout(seconds), asked as reply:
                return Reply(reply.status, reply.headers, await reply.read())
        except aiohttp.ClientError as error:
            undone = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
            raise Down(f"{type(error).__name__}: {error}", undone=undone) from None
        except TimeoutError:
            raise Down(f"no whole answer within {seconds:g} s") from None


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for an address."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
