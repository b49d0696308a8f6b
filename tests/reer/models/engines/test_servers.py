"""Managed servers: shared, proved, started again, and gone with whoever started them."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from reer.errors import Incomplete, InputError
from reer.models.engines import servers
from reer.models.placement import Placement
from reer.models.protocols import Passage
from reer.models.shared import kept
from tests.conftest import REPOSITORY
from tests.fakes.calls import completions, scores
from tests.fakes.engines import device, engines, processes, soon, tiny
from tests.fakes.http import request
from tests.fakes.texts import prompt

HARNESS = """
import sys, time
from pathlib import Path
from reer.models.engines.commands import ServedModel
from reer.models.engines.servers import serving
from reer.models.local.checkpoints import TinyModel
from tests.fakes.engines import engines
with serving(ServedModel(TinyModel(), "vllm", "float32"), Path(), 64, engines("--stray", logs=sys.argv[1])):
    print("open", flush=True)
    time.sleep(600)
"""


def test_a_server_lives_as_long_as_the_block_that_opened_it(tmp_path: Path) -> None:
    with tiny().open(device("--stray", logs=str(tmp_path))) as session:
        (server,) = processes()
        stray = server.children()
        assert [reply.stopped for reply in completions(session, [request("a"), request("b")])] == ["stop", "stop"]
    assert soon(lambda: not server.is_running())
    assert stray
    assert not any(process.is_running() for process in stray)
    assert "/v1/completions" in "".join(file.read_text() for file in tmp_path.glob("*.log"))


def test_no_process_is_left_when_the_harness_is_killed(tmp_path: Path) -> None:
    harness = subprocess.Popen(
        [sys.executable, "-c", HARNESS, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    assert harness.stdout is not None
    assert harness.stdout.readline() == "open\n"
    started = psutil.Process(harness.pid).children(recursive=True)
    assert len(started) == 3, "the supervisor, the server and the stray process"
    harness.send_signal(signal.SIGKILL)
    harness.wait()
    assert soon(lambda: not any(process.is_running() for process in started))


def test_a_server_that_was_killed_is_started_again_within_its_budget(tmp_path: Path) -> None:
    with tiny().open(device(logs=str(tmp_path), restarts=1)) as session:
        (before,) = completions(session, [request("a")])
        (server,) = processes()
        server.kill()
        assert completions(session, [request("a")]) == [before]
        (again,) = processes()
        assert again.pid != server.pid
        again.kill()
        assert soon(lambda: servers.running()[0].servers[0].supervisor.poll() is not None)
        with pytest.raises(Incomplete, match="died more often than"):
            completions(session, [request("b")])
    assert "started again (0 left)" in "".join(file.read_text() for file in tmp_path.glob("*.log"))


def test_equal_models_share_their_servers_and_others_do_not() -> None:
    with tiny().open(device()) as writes, tiny().open(device()) as rates:
        assert len(processes()) == 1
        assert completions(writes, [request("a")])
        with tiny(seed=1).open(device()):
            assert len(processes()) == 2
        assert len(processes()) == 1
        assert scores(rates, [Passage(prompt("q"), "an answer")])


def test_an_unused_server_is_kept_until_another_model_wants_the_machine() -> None:
    with kept():
        with tiny().open(device()):
            (first,) = processes()
        with tiny().open(device()):
            assert processes() == [first]
        with tiny(seed=1).open(device(restarts=0)):
            assert processes() != [first]
            assert len(processes()) == 1
        (second,) = processes()
        second.kill()
        assert soon(lambda: not servers.running()[0].servers[0].is_alive)
        with tiny(seed=1).open(device()):
            assert len(processes()) == 1, "one that is gone for good is not handed out"
    assert processes() == []


def test_a_server_whose_scores_are_off_by_one_is_refused() -> None:
    with pytest.raises(InputError, match="its prompt scores cannot be trusted"), tiny().open(device("--shifted")):
        pass
    assert processes() == []


def test_a_server_that_ends_before_it_is_ready_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"(?s)ended with code 3 before it was ready.*CUDA out of memory"):
        tiny().open(device("--exit", logs=str(tmp_path))).__enter__()


def test_the_key_of_a_server_is_in_no_command_line() -> None:
    for engine in ("vllm", "sglang"):
        with tiny(engine).open(device()):
            (found,) = servers.running()
            family = psutil.Process().children(recursive=True)
            assert not any(found.key in argument for process in family for argument in process.cmdline())


def test_replicas_share_the_work_and_each_group_keeps_to_one(tmp_path: Path) -> None:
    asked = [Passage(prompt("q"), f"answer {n}", group=f"pair {n % 2}") for n in range(12)]
    wanted = engines(logs=str(tmp_path), placement=Placement(replicas=2))
    with tiny().open(device(logs=str(tmp_path), placement=wanted.placement)) as session:
        proofs = [file.read_text().count("/v1/completions") for file in sorted(tmp_path.glob("*.log"))]
        scores(session, asked)
        after = [file.read_text().count("/v1/completions") for file in sorted(tmp_path.glob("*.log"))]
    assert sorted(now - before for now, before in zip(after, proofs, strict=True)) == [6, 6]
