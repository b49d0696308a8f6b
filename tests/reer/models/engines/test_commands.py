"""The command line of each engine: the run's own settings, what the user adds, and the GPUs of the replica alone."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from reer.errors import InputError
from reer.models.engines.commands import launch_of, missing
from reer.models.placement import Engines, Placement, ServerEngine
from reer.models.services.scoring_servers import CACHE_OPTIONS
from tests.fakes.engines import replica

PYTHON = (sys.executable, "-m", "engine")


def test_a_vllm_server_gets_its_model_first_its_precision_and_no_default_of_the_checkpoint(tmp_path: Path) -> None:
    engines = Engines(vllm=(*PYTHON, "--enforce-eager"), placement=Placement(gpus=(2, 3), memory_share=0.4))
    launch = launch_of(replica(tmp_path), engines)
    assert launch.command[:4] == (*PYTHON, "/weights")
    assert launch.command[-1] == "--enforce-eager"
    line = " ".join(launch.command)
    assert "--host 127.0.0.1" in line
    assert "--dtype bfloat16 --max-model-len 4096 --generation-config vllm" in line
    assert "--tensor-parallel-size 2 --gpu-memory-utilization 0.4" in line
    assert launch.environment["VLLM_API_KEY"] == "a key"


def test_a_vllm_that_scores_with_its_cache_is_the_same_program_and_counts_cached_tokens(tmp_path: Path) -> None:
    asked, engines = replica(tmp_path), Engines(vllm=PYTHON)
    plain = launch_of(asked, engines)
    cached = launch_of(replace(asked, model=replace(asked.model, engine="vllm_cached")), engines)
    assert [part for part in cached.command if part not in plain.command] == list(CACHE_OPTIONS)
    assert cached.environment == plain.environment


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_eight_bits_are_a_quantization_of_a_model_in_bfloat16(engine: ServerEngine, tmp_path: Path) -> None:
    asked = replica(tmp_path)
    model = replace(asked.model, engine=engine, dtype="fp8")
    line = " ".join(launch_of(replace(asked, model=model), Engines(vllm=PYTHON, sglang=PYTHON)).command)
    assert "--dtype bfloat16 --quantization fp8" in line
    plain = " ".join(
        launch_of(replace(asked, model=replace(model, dtype="bfloat16")), Engines(sglang=PYTHON, vllm=PYTHON)).command
    )
    assert "--quantization" not in plain


def test_an_sglang_server_reads_its_key_from_a_private_file(tmp_path: Path) -> None:
    asked = replica(tmp_path)
    launch = launch_of(replace(asked, model=replace(asked.model, engine="sglang")), Engines(sglang=PYTHON))
    file = Path(launch.command[launch.command.index("--config") + 1])
    assert json.loads(file.read_text()) == {"api-key": "a key"}
    assert "--model-path /weights" in " ".join(launch.command)
    assert not any("a key" in part for part in [*launch.command, *launch.environment.values()])


def test_gpus_are_counted_among_those_that_the_run_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = Engines(vllm=PYTHON, placement=Placement(gpus=(0, 1), replicas=2))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert launch_of(replica(tmp_path, 1), engines).environment["CUDA_VISIBLE_DEVICES"] == "1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert launch_of(replica(tmp_path, 1), engines).environment["CUDA_VISIBLE_DEVICES"] == "6"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    with pytest.raises(InputError, match="GPU 1 is wanted, but CUDA_VISIBLE_DEVICES=4 shows 1"):
        launch_of(replica(tmp_path, 1), engines)


def test_an_engine_that_is_not_installed_is_named_with_the_way_on(tmp_path: Path) -> None:
    engines = Engines(vllm=("no-such-program", "serve"))
    assert "install vllm into an environment of its own" in missing("vllm", engines)
    assert "runtime.device.engines.vllm=[" in missing("vllm_cached", engines)
    assert missing("vllm_cached", Engines(vllm=PYTHON)) == missing("vllm", Engines(vllm=PYTHON)) == ""
    with pytest.raises(InputError, match="no program 'no-such-program'"):
        launch_of(replica(tmp_path), engines)
