#!/usr/bin/env bash
# What needs a GPU, measured in under 8 minutes on any machine with one GPU and the project's packages; one table at the
# end. `tests/gpu/run.sh --scope tiny` goes through the same on a CPU, `--scope large` takes a model of Qwen3-8B's shape
# and up to 20 minutes. Exit code 1 if a part failed.
set -u
cd "$(dirname "$0")/../.." || exit 2
export OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=10000 WANDB_MODE=disabled HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
rows=$(mktemp) failed=0 limit=75
[[ "$*" == *tiny* ]] && limit=1800 # a CPU that others use takes minutes to import the libraries
[[ "$*" == *large* ]] && limit=200
trap 'rm -f "$rows"' EXIT

part() { # NAME SECONDS COMMAND...: a part that fails or takes too long is a line of the table, and the next one runs
    local name=$1 seconds=$2
    shift 2
    echo "== $name" >&2
    timeout --kill-after=10 "$seconds" "$@" >&2
    local code=$?
    if [ "$code" -ne 0 ]; then
        failed=1
        printf '{"part": "%s", "measure": "FAILED", "value": "exit code %s", "planned": ""}\n' "$name" "$code" >>"$rows"
    fi
}

for name in rates lora full fsdp2 flash_attention; do
    part "$name" "$limit" python -m tests.gpu.parts "$name" "$rows" "$@"
done
part "tests marked gpu" "$((limit + 15))" python -m pytest -q -n0 -m gpu tests/gpu
python -m tests.gpu.table "$rows"
exit "$failed"
