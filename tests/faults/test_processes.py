"""Processes that are killed, interrupted or asked to end: what is left behind, and what the command says of it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from experiments.config.compose import compose_plans
from experiments.config.parts import experiment_from
from experiments.experiment import Experiment
from experiments.pipeline import pipeline
from experiments.store.records import write_document
from experiments.sweeps.jobs import Outcome, Unfinished, ends, freeze
from tests.conftest import REPOSITORY
from tests.fakes.children import reer_process, running, started, until
from tests.fakes.commands import finished, reer

ARMS = "experiment=full,no_literature_arts"
QUICK = ("scale=smoke", "tracking=silent")


def composed(root: Path, *overrides: str) -> list[Experiment]:
    plans = compose_plans([*QUICK, *overrides, f"runtime.root={root}"], multirun=True)
    return [experiment_from(plan) for plan in plans]


def write_old_result(exp: Experiment) -> None:
    """A result of the experiment as it is configured now, left by an earlier run."""
    stages = {
        str(name): {"fingerprint": step.fingerprint, "build": "old", "path": "gone", "metrics": {}}
        for name, step in pipeline(exp).items()
    }
    result = {"name": exp.name, "scale": exp.scale.name, "seed": exp.seed, "baseline": "full", "caution": ""}
    exp.folder.mkdir(parents=True)
    (exp.folder / "plan.json").write_text("{}")
    content = {**result, "identity": {}, "steps": stages, "tracked": None, "confounds": {}}
    write_document(exp.folder / "result.json", content)


def public_rows(word: str) -> str:
    rows = [{"question": f"question {n}", "reasoning": f"{word} " * 20, "answer": f"{word} " * 20} for n in range(4)]
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_fault_52_an_arm_that_read_another_file_is_not_compared(tmp_path: Path) -> None:
    """A source that is replaced while a sweep runs: an arm that has read other bytes than the file holds at the end is
    listed with that reason, and its result is in no table."""
    source, root = tmp_path / "rows.jsonl", tmp_path / "out"
    arm = [*QUICK, "experiment=no_synthetic_data", "public=jsonl", f"public.path={source}"]
    source.write_text(public_rows("a"))
    (job,) = freeze(compose_plans([*arm, f"runtime.root={root}"], multirun=False))
    source.write_text(public_rows("b"))
    finished(root, "run", *arm)
    results, (unfinished,) = ends([job], [0])
    assert not results
    assert unfinished.code == 1


def test_fault_53_a_failed_job_of_a_sweep_shows_no_old_result(tmp_path: Path) -> None:
    """One run of six fails, or is OOM-killed/SystemExit: the other five finish; the summary lists it; exit code not 0;
    a rerun does only that one. Here: the failed jobs have an old result, which must not stand in the table."""
    root = tmp_path / "out"
    for exp in composed(root, ARMS):
        write_old_result(exp)
    (root / "store").mkdir()
    (root / "store/pairs").write_text("a file where the folder of a stage belongs")
    done = reer(root, "run", "-m", ARMS, *QUICK)
    assert done.code == 2, done.text
    assert "HTML report" not in done.text
    for name in ("full", "no_literature_arts"):
        assert f"{name}/smoke/s0 did not finish: stage pairs: " in done.text
    assert reer(root, "status").text.count("stage pairs") == 2


HEARTBEAT = """
import sys, time
while True:
    with open(sys.argv[1], "a") as file:  # one closed by its destructor would swallow an interrupt that comes just then
        file.write(".")
    time.sleep(0.01)
"""
PARENT = "import sys\nfrom reer.processes import run_child\nrun_child(sys.argv[1:])"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL])
def test_fault_03_a_signal_to_a_sweep_leaves_no_orphan(number: signal.Signals, tmp_path: Path) -> None:
    """SIGTERM/SIGUSR1 (preemption), SIGHUP, SIGINT or SIGKILL of the process of a sweep: its job ends as well."""
    beats = tmp_path / "beats"
    parent = started([sys.executable, "-c", PARENT, sys.executable, "-c", HEARTBEAT, str(beats)], tmp_path / "out.txt")
    until(beats.exists, "the child runs")
    parent.send_signal(number)
    assert parent.wait(timeout=20) != 0
    until(lambda: not running(str(beats)), "the child has ended")


def test_fault_03_a_request_to_end_releases_the_lock_and_exits_with_143(tmp_path: Path) -> None:
    """SIGTERM/SIGUSR1 (preemption): flush, release the lock, exit code 143 within 10 s, no manifest; a rerun
    continues."""
    root = tmp_path / "out"
    process = reer_process(root, *QUICK)
    until(lambda: bool(list(root.glob("store/refine/*.part"))), "a search runs")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 143, (tmp_path / "output.txt").read_text()
    assert "rerun the same command" in (tmp_path / "output.txt").read_text()
    assert not list(root.glob("store/refine/*/record.json"))
    (lock,) = root.glob("store/refine/.*.lock")
    FileLock(lock).acquire(timeout=0)
    assert "failed: stage refine: interrupted" in reer(root, "status").text


def test_fault_04_an_interrupted_sweep_ends_with_its_job(tmp_path: Path) -> None:
    """SIGINT once is graceful, with exit code 130; a sweep's job does not go on without it."""
    root = tmp_path / "out"
    process = reer_process(root, "-m", ARMS, *QUICK)
    until(lambda: bool(list(root.glob("store/*/*.part"))), "a job runs")
    assert running(str(root / "sweeps"))
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=20) == 130, (tmp_path / "output.txt").read_text()
    assert not running(str(root / "sweeps"))


SLOW_CLEANUP = """
import sys, time
try:
    open(sys.argv[1], "w").close()
    time.sleep(60)
finally:
    open(sys.argv[1] + ".cleaning", "w").close()
    time.sleep(60)
"""


def test_fault_04_a_second_interrupt_is_immediate(tmp_path: Path) -> None:
    """SIGINT twice ends at once, also what is being closed in good order after the first."""
    mark = tmp_path / "mark"
    command = [sys.executable, "-c", PARENT, sys.executable, "-c", SLOW_CLEANUP, str(mark)]
    parent = started(command, tmp_path / "out.txt")
    until(mark.exists, "the child runs")
    parent.send_signal(signal.SIGINT)
    until(Path(f"{mark}.cleaning").exists, "the child closes what is open")
    parent.send_signal(signal.SIGINT)
    assert parent.wait(timeout=5) != 0
    assert not running(str(mark))


def test_fault_05_one_job_that_is_killed_does_not_stop_the_others(tmp_path: Path) -> None:
    """Kill one worker of N: the others go on, and its stage is not marked done. Here: the process of one job."""
    root = tmp_path / "out"
    process = reer_process(root, "-m", ARMS, *QUICK)
    until(lambda: bool(list(root.glob("store/refine/*.part"))), "the first job searches")
    first, second = sorted(root.glob("sweeps/*/*/job.json"))
    (job,) = running(str(first))
    os.kill(job, signal.SIGKILL)
    until(lambda: bool(running(str(second))), "the second job runs")
    assert not list(root.glob("store/refine/*/record.json"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 143
    assert "its process was ended by SIGKILL" in reer(root, "status").text


BOMB = "\n".join(["a0: &a0 x", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "values with its aliases written out"),
        ("a: &a [*a]", "values with its aliases written out"),
        ("a: " + "[" * 100 + "]" * 100, "nested deeper than"),
        ("# " + "x" * 200_000, "bytes; want at most"),
        ("a: [", "not YAML"),
    ],
    ids=["bomb", "endless", "deep", "large", "torn"],
)
def test_fault_56_a_yaml_file_that_would_fill_the_memory_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """Unknown keys, typos, `_target_` in YAML, names such as `../../x`: refused before any work. Here: YAML bombs."""
    file = tmp_path / "conf/search/mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    done = reer(tmp_path / "out", "plan", "scale=smoke", "--config-dir", str(tmp_path / "conf"))
    assert done.code == 2
    assert str(file) in done.err
    assert message in done.text


@pytest.mark.parametrize("place", [["run"], ["run", "--"], []])
def test_fault_56_a_flag_that_loads_a_pickle_is_refused(tmp_path: Path, place: list[str]) -> None:
    """Unknown keys, typos, `_target_` in YAML, names such as `../../x`: refused before any work. Here: Hydra's flag
    that unpickles a file."""
    done = reer(tmp_path, *(place or ["run"]), "--experimental-rerun=evil.pickle", "scale=smoke")
    assert done.code == 2
    assert "--experimental-rerun is refused: it loads a pickle" in done.err


def shell(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **variables}
    command = command.replace("reer", f"{sys.executable} -m experiments.cli")
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment, cwd=folder)


@pytest.mark.parametrize("redirection", [">&-", ">&- 2>&-", "> /dev/full 2>&1"])
def test_output_that_cannot_be_written_ends_nothing(redirection: str, tmp_path: Path) -> None:
    done = shell(f"reer choices search {redirection}", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_that_is_opened_while_stdout_is_closed_gets_no_output(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(
        "import os\nfrom pathlib import Path\nfrom reer.processes import prepare_streams\nprepare_streams()\n"
        "Path('n').write_text(str(os.open('file', os.O_CREAT)))\n"
    )
    shell(f"{sys.executable} run.py >&- 2>&- <&-", tmp_path)
    assert int((tmp_path / "n").read_text()) > 2


@pytest.mark.parametrize(
    "variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_characters_that_the_terminal_lacks_end_nothing(variables: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "größe…").mkdir()
    done = shell("reer status --root größe…", tmp_path, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no runs in gr?" in done.stdout


def test_the_worst_job_decides_the_exit_code_of_a_sweep() -> None:
    from experiments.store.failures import Failure

    def code(*codes: int) -> int:
        jobs = tuple(Unfinished(run_name=f"run{n}", code=c, failure=Failure("", "")) for n, c in enumerate(codes))
        return Outcome((), jobs, Path()).code

    assert (code(), code(3), code(3, 2), code(2, 3, 1), code(3, -9), code(143)) == (0, 3, 2, 1, 1, 1)


LIBRARY = """
import functools, sys
from experiments.cli import main
from experiments.stages import data

@functools.wraps(data.pairs.work)
def work(*_, **__):
    sys.exit({code!r})

object.__setattr__(data.pairs, "work", work)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("code", ["the library gave up", 0])
def test_a_library_that_exits_does_not_end_a_run_as_if_it_had_succeeded(code: str | int, tmp_path: Path) -> None:
    (tmp_path / "library.py").write_text(LIBRARY.format(code=code))
    done = shell(f"{sys.executable} library.py run scale=smoke tracking=silent runtime.root=out", tmp_path)
    assert done.returncode == 1, done.stderr
    assert f"error: a library ended the process: {code}" in done.stderr
    assert f"stage pairs: a library ended the process: {code}" in reer(tmp_path / "out", "status").text
