"""The command line: help explains and does nothing, a mistake is exit code 2 with the nearest name."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.cli import app, main
from experiments.config.compose import compose_plans
from experiments.report.console import SPINS, quiet_libraries
from experiments.store.disk import disk_errors
from reer.errors import InputError
from tests.conftest import REPOSITORY
from tests.fakes.commands import reer

VERBS = [command.name or command.callback.__name__ for command in app.registered_commands if not command.hidden]


def printed(capfd: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """Everything that a command prints, on one line; the exit code is checked."""
    got = main(arguments)
    streams = capfd.readouterr()
    assert got == code, streams.out + streams.err
    assert "Traceback" not in streams.err
    return " ".join((streams.out + streams.err).split())


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_shows_an_example_and_does_nothing(
    verb: str, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([verb, "--help"]) == 0
    text = capfd.readouterr().out
    assert re.search(rf"^    reer {verb}", text, re.MULTILINE)
    assert max(map(len, text.split("\n"))) <= 80
    assert len(text.split("\n")) < 50
    assert not list(tmp_path.iterdir())


def test_bare_reer_shows_help(capfd: pytest.CaptureFixture[str]) -> None:
    text = printed(capfd)
    assert all(verb in text for verb in VERBS)
    assert "_schema" not in text


@pytest.mark.parametrize("verb", VERBS)
def test_an_unknown_option_is_an_error(verb: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert "No such option" in printed(capfd, verb, "--typo", code=2)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sweep=ablatoins", "did you mean ablations"),
        ("+train.learnig_rate=1e-2", r"train\.learnig_rate: unknown key; .*did you mean learning_rate"),
        ("++train.learnig_rate=1e-2", r"train\.learnig_rate: unknown key; .*did you mean learning_rate"),
        ("+sead=1", "did you mean seed"),
        ("search=singel_pass", "did you mean single_pass"),
        ("seed=0,1", "add -m"),
        ("seed=-1", "seed: .*greater than or equal to 0"),
    ],
)
def test_a_mistake_in_an_override_is_refused(override: str, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    text = printed(capfd, "plan", "scale=smoke", override, code=2)
    assert re.search(message, text)
    assert "_schema" not in text


def test_an_interval_is_refused_with_what_to_write_instead(capfd: pytest.CaptureFixture[str]) -> None:
    text = printed(capfd, "plan", "-m", "scale=smoke", "search.threshold=interval(0,1)", code=2)
    assert "want choice(...), range(start,stop,step)" in text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=range(0,3,0)", "must not be zero"),
        ("seed=choice()", "empty choice is not legal"),
        ("seed=tag(a,interval(0,1))", "an interval has no list of values"),
        ("experiment=sort(glob(no_*))", "Glob is incompatible"),
        ("seed=glob(*)", "the sweep has no job"),
        ("seed=range(0,2000)", "2000 jobs for each arm; want at most 1000"),
        ("seed=foo(1)", "Unknown function 'foo'"),
        ("~seed", "seed: every experiment needs it; leave out ~seed"),
        ("hydra/launcher=joblib,basic", "want one value; Hydra's settings hold for all jobs"),
        ("hydra/launcher=joblb", "want one of basic, .*joblib, .* did you mean joblib"),
        ("hydra.launcher.n_jobs=2", "BasicLauncher has no such setting"),
        ("hydra.sweeper.params={seed:'0,1'}", "want values separated by commas and -m"),
    ],
)
def test_what_cannot_be_swept_is_refused_in_a_sentence(
    override: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert re.search(message, printed(capfd, "plan", "-m", "scale=smoke", override, code=2))


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ("seed=range(3)", [0, 1, 2]),
        ("seed=choice(2,1)", [2, 1]),
        ("seed=sort(2,0,reverse=true)", [2, 0]),
        ("seed=1,1", [1]),
    ],
)
def test_other_forms_of_values_are_sweeps_of_different_jobs(override: str, values: list[int]) -> None:
    assert [plan["seed"] for plan in compose_plans(["scale=smoke", override], multirun=True)] == values


def test_a_glob_of_a_group_matches_choices_and_no_schemas() -> None:
    names = [plan["name"] for plan in compose_plans(["scale=smoke", "reflection=glob(*)"], multirun=True)]
    assert names == ["full+reflection=inject", "full+reflection=never", "full+reflection=strip"]


def test_a_launcher_that_would_do_nothing_is_refused(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = ("run", "scale=smoke", f"runtime.root={tmp_path / 'out'}")
    assert "no effect on one run; add -m" in printed(capfd, *line, "hydra/launcher=joblib", code=2)
    assert "there is no Slurm" in printed(capfd, *line, "-m", "hydra/launcher=submitit_slurm", code=2)
    assert not (tmp_path / "out").exists()


def test_globs_and_ranges_are_sweeps(capfd: pytest.CaptureFixture[str]) -> None:
    text = printed(capfd, "run", "-m", "scale=smoke", "experiment=glob(no_lit*)", "seed=range(0,2)", "--cfg", "job")
    assert text.count("# no_literature_arts ") == 2


def test_a_sweep_without_a_job_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    for verb in (["run"], ["run", "--cfg", "job"], ["plan"]):
        assert "the sweep has no job" in printed(capfd, *verb, "-m", "scale=smoke", "experiment=glob(nox_*)", code=2)


def test_a_verb_for_one_experiment_refuses_a_sweep(capfd: pytest.CaptureFixture[str]) -> None:
    assert "leave out sweep=" in printed(
        capfd, "pairwise", "full+search=single_pass", "full", "sweep=ablations", code=2
    )


def test_a_folder_without_runs_says_so(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no runs in" in printed(capfd, "status", "--root", str(tmp_path))


def test_hydra_flags_are_served_or_refused(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "want --cfg job" in printed(capfd, "run", "--cfg", "all", code=2)
    assert "want one of" in printed(capfd, "run", "--info", "nothing", code=2)
    assert "no such folder" in printed(capfd, "run", "--config-dir", str(tmp_path / "x"), "--cfg", "job", code=2)
    tree = printed(capfd, "run", "scale=smoke", "--info", "defaults-tree")
    assert "search: iterative" in tree or "search/iterative" in tree
    assert "_schema" not in tree


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_a_multirun_is_asked_for_anywhere_on_the_line(place: int, capfd: pytest.CaptureFixture[str]) -> None:
    line = ["plan", "scale=smoke", "experiment=full,no_literature_arts"]
    assert "marginal cost" in printed(capfd, *line[:place], "-m", *line[place:])


def test_choices_lists_descriptions_and_marks_the_default(capfd: pytest.CaptureFixture[str]) -> None:
    text = printed(capfd, "choices", "search")
    assert "iterative *" in text
    assert "single_pass *" not in text
    assert "No iterative search" in text
    assert "did you mean search" in printed(capfd, "choices", "serch", code=2)
    everything = printed(capfd, "choices")
    assert "smollm2 *" in everything
    assert "_schema" not in everything


def test_a_scale_without_runs_and_a_path_that_is_a_folder_are_named(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "runs/full/smoke/s0").mkdir(parents=True)
    for verb in ("claims", "compare", "report", "table"):
        text = printed(capfd, verb, "--root", str(tmp_path), "--scale", "smok", code=2)
        assert "--scale smok: no run has a current result; scales here: smoke; did you mean smoke?" in text
        text = printed(capfd, verb, "--root", str(tmp_path), "--scale", "smoke", code=2)
        assert text.endswith("--scale smoke: no run has a current result"), "the scale is there, and no hint is due"
    with pytest.raises(InputError, match="Is a directory; change the option"), disk_errors(Path()):
        tmp_path.write_text("")


def test_threads_wait_as_the_environment_says_and_else_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    quiet_libraries()
    assert (os.environ["OMP_WAIT_POLICY"], os.environ.get("GOMP_SPINCOUNT")) == ("active", None)
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    quiet_libraries()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    quiet_libraries()
    assert (os.environ["OMP_WAIT_POLICY"], os.environ["GOMP_SPINCOUNT"]) == ("passive", SPINS)


def test_what_is_shown_is_there_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(printed(capfd, "choices", "search", "--json"))
    assert {"iterative": ["search"], "single_pass": []}.items() <= {c["name"]: c["used_by"] for c in listed}.items()
    checks = json.loads(printed(capfd, "doctor", "scale=smoke", "--json"))
    assert all(check["ok"] for check in checks)
    assert "want one of them" in printed(capfd, "doctor", "scale=smoke", "--json", "--store", code=2)


READING = ("agreement", "bridge", "choices", "claims", "compare", "diff", "doctor", "explain", "gc", "plan", "rerun")


@pytest.mark.parametrize("verb", [*READING, "selftest", "status", "table", "where"])
def test_every_verb_that_reads_offers_json(verb: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert "--json" in printed(capfd, verb, "--help")


def test_plan_shows_shared_stages_and_costs(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = ("plan", "-m", "scale=smoke", "experiment=full,no_literature_arts", f"runtime.root={tmp_path}")
    text = printed(capfd, *line, "--stages")
    assert "with full" in text
    assert "marginal cost" in text
    assert "with full" not in printed(capfd, *line), "only where it is asked for"
    assert not list(tmp_path.iterdir()), "a plan writes nothing"


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "80"}


def test_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    command = f"{sys.executable} -m experiments.cli choices | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.split("\n")) == 2


def test_output_to_a_file_has_no_colours(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments.cli", "choices", "search"]
    environment = {**ENVIRONMENT, "NO_COLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert "\x1b[" not in done.stdout


@pytest.mark.parametrize("verb", [["--help"], ["choices"], ["status"]])
def test_light_verbs_do_not_import_hydra(verb: list[str], tmp_path: Path) -> None:
    code = (
        f"import sys\nfrom experiments.cli import main\nmain({verb!r})\n"
        "assert not {'hydra', 'torch', 'scipy', 'wandb'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


READING = [
    ("status",),
    ("gc",),
    ("compare",),
    ("table",),
    ("report",),
    ("claims",),
    ("explain", "full"),
    ("diff", "full", "other"),
    ("where", "full", "writing/quality"),
    ("rerun", "full"),
    ("sync",),
]


@pytest.mark.parametrize("verb", READING, ids=lambda verb: verb[0])
def test_a_root_that_is_no_folder_is_refused_and_named(verb: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for root, what in ((tmp_path / "absent", "does not exist"), (file, "is a file")):
        done = reer(root, *verb)
        assert done.code == 2
        assert f"--root {root} {what}; want the folder" in " ".join(done.err.split())


def test_without_root_a_folder_without_outputs_has_no_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments.cli", "status"]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path)
    assert done.returncode == 0
    assert "no runs in outputs/runs" in done.stdout
