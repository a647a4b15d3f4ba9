#!/usr/bin/env bash
# On a machine with a GPU and no network: does the CUDA library build, load, find its stream, compute right,
# and how fast is it? One command, one folder of results.
#
#   benchmarks/run_on_gpu.sh [FOLDER]      default: $OUT, else ./gpu_results
#
# Needs a CUDA build of torch >= 2.11, nvcc, transformers, and of the build: setuptools >= 77, wheel,
# pybind11, ninja; of the tests: pytest, hypothesis; of the figures: matplotlib, psutil, tqdm.
# Installs into a temporary folder only. A step that fails does not stop the later ones.
#
# FOLDER: summary.json (every step), log.txt, doctor.json, tests.xml, rearrange.json, rope.json and figures.
# Exit code: 0 every step passed or could not run here (compute-sanitizer), 1 one failed, 2 nothing was begun.
#
# Environment: PYTHON (python3), DEADLINE in seconds (530), TORCH_CUDA_ARCH_LIST, MAX_JOBS, CUDA_HOME,
# INTP_EXT_COMMIT (what the results are labelled with where there is no git checkout).
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=${1:-${OUT:-gpu_results}}
python=${PYTHON:-python3}
deadline=${DEADLINE:-530}

if [[ ${out} == -h || ${out} == --help ]]; then
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
  exit 0
fi

# --- before anything is built ---------------------------------------------------------------------------------

if ! command -v "$python" >/dev/null; then
  echo "run_on_gpu: no $python; set PYTHON" >&2
  exit 2
fi
"$python" - <<'PYTHON' || exit 2
import importlib.metadata as metadata
import sys


def stop(message):
    print(f"run_on_gpu: {message}", file=sys.stderr)
    sys.exit(2)


def numbers(version):
    return tuple(int(part) for part in version.split("+")[0].split(".")[:2] if part.isdigit())


try:
    import torch
except ImportError as error:
    stop(f"torch cannot be imported: {error}")
if not torch.cuda.is_available():
    stop(f"no CUDA device that torch {torch.__version__} can use; nothing was built")
needed = {
    "torch": (2, 11), "setuptools": (77,), "wheel": (), "pybind11": (2, 12), "ninja": (),
    "transformers": (4, 57), "numpy": (), "pytest": (), "hypothesis": (), "matplotlib": (),
    "psutil": (), "tqdm": (),
}
wrong = []
for name, oldest in needed.items():
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        found = None
    if found is None or numbers(found) < oldest:
        least = f">={'.'.join(map(str, oldest))}" if oldest else ""
        wrong.append(f"{name}{least} (found {found or 'none'})")
if wrong:
    stop("these packages are needed: " + ", ".join(wrong))
PYTHON
if ! { [[ -x ${CUDA_HOME:-/usr/local/cuda}/bin/nvcc ]] || command -v nvcc >/dev/null; }; then
  echo "run_on_gpu: no nvcc in CUDA_HOME, /usr/local/cuda or PATH; nothing was built" >&2
  exit 2
fi

mkdir -p "$out" || exit 2
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log=$out/log.txt
steps=()
failed=0

# --- steps ----------------------------------------------------------------------------------------------------

write_summary() {
  local IFS=,
  printf '{"passed": %s, "seconds": %d, "steps": [%s\n]}\n' \
    "$([[ $failed == 0 ]] && echo true || echo false)" "$SECONDS" "${steps[*]}" >"$out/summary.json"
}

# record NAME STATUS EXIT_CODE SECONDS; the summary is there even if a later step is killed
record() {
  steps+=("$(printf '\n  {"step": "%s", "status": "%s", "exit_code": %s, "seconds": %d}' "$@")")
  printf '%-20s %-9s %4ds\n' "$1" "$2" "$4" >&2
  write_summary
}

# step NAME SECONDS COMMAND...: output goes to the log; never beyond the deadline of the whole
step() {
  local name=$1 limit=$2 begin=$SECONDS status=passed code=0
  shift 2
  local left=$((deadline - SECONDS))
  if ((left < 5)); then
    failed=1
    record "$name" "no time" null 0
    return 1
  fi
  ((limit > left)) && limit=$left
  printf '\n===== %s (at most %d s): %s\n' "$name" "$limit" "$*" >>"$log"
  timeout --kill-after=5 "$limit" "$@" >>"$log" 2>&1 || code=$?
  if ((code == 124 || code == 137)); then
    status="timed out"
  elif ((code != 0)); then
    status=failed
  fi
  ((code != 0)) && failed=1
  printf '===== %s: %s, exit code %d\n' "$name" "$status" "$code" >>"$log"
  record "$name" "$status" "$code" $((SECONDS - begin))
  return "$code"
}

: >"$log"
cd "$work" || exit 2 # Python must find the installed package before the source tree
{
  date -u
  uname -a
  nvidia-smi
} >>"$log" 2>&1

INTP_EXT_CUDA=1 step build 300 "$python" -m pip install -v --no-index --no-deps --no-build-isolation \
  --target "$work/site" "$root"
export PYTHONPATH=$work/site${PYTHONPATH:+:$PYTHONPATH}

step load 60 "$python" -c '
import intp_ext, json, sys
info = intp_ext.build_info()
print(intp_ext.__file__, json.dumps(info, indent=1))
sys.exit(0 if info["cuda_loaded"] else "not loaded: " + info["cuda_loaded_reason"])'

# shellcheck disable=SC2016  # stdout is a result, stderr goes to the log
step doctor 60 bash -c '"$@" >"$0"' "$out/doctor.json" "$python" -m intp_ext --json

# a file whose tests are all skipped gives exit code 5: not passed
step cuda_tests 120 "$python" -m pytest -q -rs -p no:cacheprovider -c "$root/pyproject.toml" \
  --rootdir "$root" --junit-xml "$out/tests.xml" "$root"/tests/ops/test_cuda*.py

for name in rearrange rope; do
  step "$name" 150 "$python" "$root/benchmarks/bench_$name.py" --device cuda --seconds 0.5 \
    --json "$out/$name.json"
  [[ -s $out/$name.json ]] && step "plot_$name" 30 "$python" "$root/benchmarks/plot.py" "$out/$name.json"
done

sanitizer=$(command -v compute-sanitizer || echo "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer")
if [[ ! -x $sanitizer ]]; then
  record sanitizer "not found" null 0
elif ! timeout 60 "$sanitizer" "$python" -c 'import torch; torch.zeros(1, device="cuda")' \
  >"$work/sanitizer.txt" 2>&1; then
  cat "$work/sanitizer.txt" >>"$log"
  record sanitizer "cannot run here" null 0
else
  # without PyTorch's caching allocator, so that the end of a tensor is the end of its memory
  for tool in memcheck racecheck; do
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 step "$tool" 100 "$sanitizer" --tool "$tool" \
      --report-api-errors no --error-exitcode 1 "$python" -m intp_ext
  done
fi

echo "results in $out" >&2
exit "$failed"
