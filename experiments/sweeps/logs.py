"""The log files of jobs, followed while the jobs run, wherever they run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

INTERVAL = 0.2  # seconds between two looks at the files


class Follower:
    """What has been appended to files since the last look. `say` gets the label of a file and each complete line."""

    def __init__(self, files: Mapping[str, Path], say: Callable[[str, str], None]) -> None:
        self.files, self.say = files, say
        self.read = dict.fromkeys(files, 0)

    def look(self, at_the_end: bool = False) -> None:
        """Report the new lines; `at_the_end` also what comes after the last line break."""
        for label, file in self.files.items():
            content = self._new(label, file)
            complete = content if at_the_end else content[: content.rfind(b"\n") + 1]
            self.read[label] += len(complete)
            for text in complete.decode("utf-8", errors="replace").splitlines():
                self.say(label, text)

    def _new(self, label: str, file: Path) -> bytes:
        if not file.exists():
            return b""
        with file.open("rb") as stream:
            stream.seek(self.read[label])
            return stream.read()


@contextmanager
def followed(files: Mapping[str, Path], say: Callable[[str, str], None]) -> Generator[None]:
    """In this context, report each line that is appended to the files. A file may come into being later, and may be
    written by another machine."""
    follower, ended = Follower(files, say), threading.Event()

    def follow() -> None:
        while not ended.wait(INTERVAL):
            follower.look()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        follower.look(at_the_end=True)
