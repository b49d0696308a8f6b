"""The attempts at a run. A lock in its folder says who is at work on it, and `failure.json` why its last attempt has no
result, until one succeeds."""

from __future__ import annotations

import contextlib
import traceback
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from filelock import Timeout
from pydantic import ValidationError

from experiments.store.disk import held, holder
from reer.errors import Incomplete, InputError
from reer.files import adapter, write_json
from reer.secrets import redacted

FILE = "failure.json"
LOCK = ".attempt.lock"


@dataclass(frozen=True)
class Failure:
    """The end of an attempt that has no result."""

    stage: str
    """The step that was at work; '' before the first."""

    reason: str

    def __str__(self) -> str:
        return f"stage {self.stage}: {self.reason}" if self.stage else self.reason

    @property
    def headline(self) -> str:
        """The first line."""
        return next(iter(str(self).splitlines()), "for no stated reason")


class Attempt:
    """Context of one attempt at a run: it is marked as at work, and an error that leaves it is written to the run's
    folder and goes on. Of two attempts side by side the first has the mark."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stage = folder, ""
        self._mark = ExitStack()

    def __enter__(self) -> Attempt:
        forget_failure(self.folder)
        with contextlib.suppress(OSError, Timeout):  # a mark is for people; the work itself says what the disk refuses
            self.folder.mkdir(parents=True, exist_ok=True)
            self._mark.enter_context(held(self.folder / LOCK, wait=False))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._mark.close()
        if error is not None:
            write_failure(self.folder, Failure(self.stage, reason_of(error)))


def at_work(folder: Path) -> str | None:
    """`HOST pid N since TIME`: who is at work on a run; None where nobody is."""
    return holder(folder / LOCK)


def why_unfinished(folder: Path) -> str:
    """Who is at work on a run, or the first line of its failure; empty where neither is known."""
    if working := at_work(folder):
        return f"at work ({working})"
    failure = read_failure(folder)
    return f"failed: {failure.headline}" if failure else ""


def reason_of(error: BaseException) -> str:
    """An error in words; one that is not meant for users comes with its class and the line that raised it."""
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "interrupted"
    if isinstance(error, InputError | Incomplete | SystemExit):
        return redacted(str(error)) or type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return redacted(f"{type(error).__name__}: {error}{place}")


def write_failure(folder: Path, failure: Failure) -> None:
    """Write the failure of a run. A disk that refuses it must not hide the failure itself, which is shown as well."""
    with contextlib.suppress(OSError):
        write_json(folder / FILE, asdict(failure))


def read_failure(folder: Path) -> Failure | None:
    """The failure of the last attempt; None where it succeeded or there was none."""
    path = folder / FILE
    try:
        return adapter(Failure).validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        return Failure("", f"{path} is damaged, so its reason is lost")


def forget_failure(folder: Path) -> None:
    """Remove the failure of an earlier attempt."""
    (folder / FILE).unlink(missing_ok=True)
