"""Pages in headless Chromium: several frames of one page at several widths, and what a script reports of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HEIGHT = 900
FRAMES = """<!doctype html><body style="margin:0;display:flex">%s<script>
const look = (frame) => { const page = frame.contentDocument, view = frame.contentWindow; %s };
onload = () => console.log("REPORT " + JSON.stringify([...document.querySelectorAll("iframe")].map(look)));
</script>"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def seen(page: Path, widths: Sequence[int], look: str, *, dark: bool, screenshot: Path) -> tuple[list[Any], list[str]]:
    """What the script `look` returns of each frame, in which it finds `page` and `view`, and all other lines of the
    console. A screenshot of the frames side by side is written."""
    assert CHROMIUM is not None
    frames = "".join(
        f'<iframe src="{page.name}" style="border:0;flex:none;width:{width}px;height:{HEIGHT}px"></iframe>'
        for width in widths
    )
    (page.parent / "frames.html").write_text(FRAMES % (frames, look))
    with _served(page.parent) as address:
        command = [
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--enable-logging=stderr",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            f"--window-size={sum(widths)},{HEIGHT}",
            f"--user-data-dir={page.parent / 'profile'}",
            f"--screenshot={screenshot}",
            f"{address}/frames.html",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = re.findall(r"CONSOLE[^\]]*\] (.*)", done.stderr)
    reports = [line for line in console if line.startswith('"REPORT ')]
    assert len(reports) == 1, done.stderr[-2000:]
    content = reports[0].removeprefix('"REPORT ').rpartition('", source:')[0]
    return json.loads(content), [line for line in console if line not in reports and "favicon" not in line]
