"""Where a run is mirrored to: our configuration, then W&B's own variables, then a default; and whether W&B answers."""

from __future__ import annotations

import logging
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from experiments.experiment import Experiment
from reer.errors import near
from reer.files import adapter, write_json

log = logging.getLogger(__name__)
PROJECT = "reer-ablations"
TAG_CHARACTERS = 64  # the most W&B takes
ANSWER_SECONDS = 5.0
REMEMBERED_SECONDS = 600.0
PUBLIC = "https://api.wandb.ai"

Mode = Literal["online", "offline", "silent"]
MODES: Mapping[str, Mode] = {
    "online": "online",
    "run": "online",
    "shared": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "silent",
}
"""What the values of WANDB_MODE mean."""


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where a run is mirrored to. `entity` None: the default of the W&B account. `group` is the study."""

    mode: Mode
    project: str
    entity: str | None
    group: str
    tags: tuple[str, ...]


def destination(exp: Experiment, environment: Mapping[str, str] | None = None) -> Destination:
    """What the configuration asks for; where it leaves a field open, what W&B's variable of that name asks for. Tags of
    WANDB_TAGS are added to ours."""
    variables, ours = os.environ if environment is None else environment, exp.tracking
    return Destination(
        mode=_mode(ours.mode, variables),
        project=ours.project or variables.get("WANDB_PROJECT") or PROJECT,
        entity=ours.entity or variables.get("WANDB_ENTITY") or None,
        group=ours.study or variables.get("WANDB_RUN_GROUP") or exp.scale.name,
        tags=_tags(exp, variables.get("WANDB_TAGS", "")),
    )


def _tags(exp: Experiment, others: str) -> tuple[str, ...]:
    ours = [f"arm:{exp.name}", f"scale:{exp.scale.name}", *(["baseline"] if exp.name == exp.baseline else [])]
    theirs = [tag.strip() for tag in others.split(",") if tag.strip()]
    return tuple(dict.fromkeys(tag[:TAG_CHARACTERS] for tag in (*ours, *theirs)))


def _mode(wanted: Literal["auto", "online", "offline", "silent"], variables: Mapping[str, str]) -> Mode:
    mode = _mode_of_variables(variables) if wanted == "auto" else wanted
    if mode == "online" and not has_key(variables):
        log.warning("W&B: online is wanted, but there is no key, so this run is tracked offline; set WANDB_API_KEY")
        return "offline"
    if mode is None:
        return "online" if has_key(variables) else "offline"
    return mode


def _mode_of_variables(variables: Mapping[str, str]) -> Mode | None:
    """What W&B's own variables ask for; None where they leave it open."""
    if variables.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes", "on"):
        log.info("W&B is disabled by WANDB_DISABLED; tracking=silent says the same")
        return "silent"
    value = variables.get("WANDB_MODE", "").lower()
    mode = MODES.get(value)
    if value and mode is None:
        known = ", ".join(MODES)
        log.warning("WANDB_MODE: want one of %s, got %r%s; it is ignored", known, value, near(value, MODES))
    if mode == "silent":
        log.info("W&B is disabled by WANDB_MODE; tracking=silent says the same")
    return mode


def server(variables: Mapping[str, str]) -> str:
    """The address of the W&B server."""
    return (variables.get("WANDB_BASE_URL") or PUBLIC).rstrip("/")


def has_key(variables: Mapping[str, str]) -> bool:
    """True if the environment or netrc holds a W&B key; reads files only and never prompts."""
    if variables.get("WANDB_API_KEY"):
        return True
    host = server(variables).split("//")[-1].split("/")[0].split(":")[0]
    with suppress(OSError, NetrcParseError):
        return netrc().authenticators(host) is not None
    return False


@dataclass(frozen=True)
class Unreachable:
    """A server that gave no answer, and until when (seconds since the epoch) it is not asked again."""

    server: str
    until: float


def answers(root: Path) -> bool:
    """Whether the W&B server answers at all. No answer is remembered under `root` for ten minutes, so that the other
    jobs of a sweep do not wait for it."""
    path, address = root / "wandb" / "unreachable.json", server(os.environ)
    if _remembered(path, address):
        log.info("W&B gave no answer to an earlier run, so this one is tracked offline; `reer sync` sends it")
        return False
    if answers_now(address):
        path.unlink(missing_ok=True)
        return True
    remember_unreachable(root)
    log.warning("W&B at %s gives no answer, so this run is tracked offline; `reer sync` sends it", address)
    return False


def remember_unreachable(root: Path) -> None:
    """Let the runs of the next ten minutes not wait for W&B."""
    entry = Unreachable(server(os.environ), time.time() + REMEMBERED_SECONDS)
    write_json(root / "wandb" / "unreachable.json", {"server": entry.server, "until": entry.until})


def _remembered(path: Path, address: str) -> bool:
    try:
        entry = adapter(Unreachable).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return False
    return entry.server == address and time.time() < entry.until


def answers_now(address: str) -> bool:
    """Whether a server answers within seconds. Any reply counts. A thread asks, because the time that looking up a name
    takes has no limit."""
    replied = threading.Event()

    def ask() -> None:
        with suppress(OSError, ValueError):
            with suppress(urllib.error.HTTPError), urllib.request.urlopen(address, timeout=ANSWER_SECONDS):
                pass
            replied.set()

    threading.Thread(target=ask, daemon=True).start()
    return replied.wait(ANSWER_SECONDS + 1)
