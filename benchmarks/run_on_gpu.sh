#!/usr/bin/env bash
# On a machine with a GPU and no network: does the CUDA library build, load, find its stream, compute right,
# and how fast is it? One command, one folder of results.
#
#   benchmarks/run_on_gpu.sh [FOLDER]      default: benchmarks/results/CARD, as results/h200
#   benchmarks/run_on_gpu.sh --dry-run     every command line tried without a GPU, into a temporary folder
#
# Needs a CUDA build of torch >= 2.11, nvcc, transformers, and of the build: setuptools >= 77, wheel,
# pybind11, ninja; of the tests: pytest, hypothesis; of the figures: matplotlib, psutil, tqdm.
# Neither decord nor PyAV. Installs into a temporary folder only.
#
# Ends within DEADLINE seconds. Each step has a limit of its own and writes as it goes; one that fails or is
# stopped does not stop the later ones. In the order of what one wants to know first: build, load, the doctor, the
# operators against float64 on the CPU, the hook, attention, decode, a question to a 7B model stage by stage (with
# random weights, beside stock), the same by window, the KV cache, rope, rearrange, compute-sanitizer.
#
# A dry run imports the Python of each step, has it check its arguments, and runs what needs no GPU: the doctor, the
# metadata of the build, the collection of the tests, the 7B model without memory, figures of older results. It needs
# the package installed, for a CPU, and says which other packages are missing.
#
# FOLDER: summary.json (every step), log.txt, doctor.json, operators.xml, hook.xml, ask.json, windows.json, and for
# each other benchmark its JSON and figure, with the card's copy bandwidth and matrix product measured in the same run.
# Exit code: 0 every step passed or could not run here (compute-sanitizer), 1 one failed, 2 nothing was begun.
#
# Environment: PYTHON (python3), DEADLINE in seconds (530), SECONDS_PER_CASE of a benchmark (0.3),
# TORCH_CUDA_ARCH_LIST (that of the card, and PTX), MAX_JOBS (all cores), CUDA_HOME,
# INTP_EXT_COMMIT (what the results are labelled with where there is no git checkout).
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
deadline=${DEADLINE:-530}
for_figures=20 # seconds kept for drawing what was measured

dry=()
case ${1:-} in
  -h | --help)
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
    exit 0
    ;;
  --dry-run)
    dry=(--dry-run)
    deadline=1000000 # it ends when it ends
    shift
    ;;
  -*)
    echo "run_on_gpu: expected [--dry-run] [FOLDER], got $1" >&2
    exit 2
    ;;
esac
is_dry() { [[ ${#dry[@]} != 0 ]]; }

# --- before anything is built ---------------------------------------------------------------------------------

if ! command -v "$python" >/dev/null; then
  echo "run_on_gpu: no $python; set PYTHON" >&2
  exit 2
fi
"$python" - "${dry[@]}" <<'PYTHON' || exit 2
import importlib.metadata as metadata
import sys

dry = "--dry-run" in sys.argv


def stop(message):
    print(f"run_on_gpu: {message}", file=sys.stderr)
    sys.exit(0 if dry else 2)


def numbers(version):
    return tuple(int(part) for part in version.split("+")[0].split(".")[:2] if part.isdigit())


try:
    import torch
except ImportError as error:
    stop(f"torch cannot be imported: {error}")
if not dry and not torch.cuda.is_available():
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
if ! is_dry && ! { [[ -x ${CUDA_HOME:-/usr/local/cuda}/bin/nvcc ]] || command -v nvcc >/dev/null; }; then
  echo "run_on_gpu: no nvcc in CUDA_HOME, /usr/local/cuda or PATH; nothing was built" >&2
  exit 2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if is_dry; then
  capability=9.0a
  out=${1:-$work/results}
else
  # "NVIDIA H200" is h200, and compute capability 9.0 is 9.0a: the kernels of that architecture alone
  read -r card capability < <("$python" -c '
import re, torch
name = re.sub(r"nvidia|geforce|tesla", "", torch.cuda.get_device_name(), flags=re.I)
major, minor = torch.cuda.get_device_capability()
print(re.sub(r"\W+", "-", name).strip("-").lower(), f"{major}.{minor}" + "a" * (major == 9))')
  out=${1:-$root/benchmarks/results/$card}
fi
export TORCH_CUDA_ARCH_LIST=${TORCH_CUDA_ARCH_LIST:-$capability 8.0+PTX}
mkdir -p "$out" || exit 2
out=$(cd "$out" && pwd)
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
  local name=$1 limit=$2 begin=$SECONDS status=passed code=0 written
  shift 2
  local left=$((deadline - for_figures - SECONDS))
  if ((left < 5)); then
    failed=1
    record "$name" "no time" null 0
    return 1
  fi
  ((limit > left)) && limit=$left
  written=$(wc -c <"$log")
  printf '\n===== %s (at most %d s): %s\n' "$name" "$limit" "${*@Q}" >>"$log"
  is_dry || set -- timeout --kill-after=5 "$limit" "$@"
  "$@" >>"$log" 2>&1 || code=$?
  if ((code == 124 || code == 137)); then
    status="timed out"
  elif ((code != 0)); then
    status=failed
  fi
  ((code != 0)) && failed=1
  printf '===== %s: %s, exit code %d\n' "$name" "$status" "$code" >>"$log"
  is_dry && tail -c "+$((written + 1))" "$log" | if ((code)); then cat; else sed -n 2p; fi
  record "$name" "$status" "$code" $((SECONDS - begin))
  return "$code"
}

: >"$log"
cd "$work" || exit 2 # Python must find the installed package before the source tree
is_dry || {
  date -u
  uname -a
  nvidia-smi
} >>"$log" 2>&1

INTP_EXT_CUDA=1 MAX_JOBS=${MAX_JOBS:-$(nproc)} step build 240 "$python" -m pip install -v --no-index \
  --no-deps --no-build-isolation --target "$work/site" "${dry[@]}" "$root"
export PYTHONPATH=$work/site${PYTHONPATH:+:$PYTHONPATH}

step load 60 "$python" -c '
import intp_ext, json, sys
info = intp_ext.build_info()
print(intp_ext.__file__, json.dumps(info, indent=1))
sys.exit(0 if info["cuda_loaded"] or sys.argv[1:] else "not loaded: " + info["cuda_loaded_reason"])' "${dry[@]}"

# shellcheck disable=SC2016  # stdout is a result, stderr goes to the log
step doctor 60 bash -c '"$@" >"$0"' "$out/doctor.json" "$python" -m intp_ext --json

# those that run on the GPU, whose ids say so; none at all gives exit code 5: not passed
tests() {
  step "$1" "$2" "$python" -m pytest -q -rs -k cuda -p no:cacheprovider -c "$root/pyproject.toml" \
    --rootdir "$root" --junit-xml "$out/$1.xml" "${dry[@]/#--dry-run/--collect-only}" "$3"
}
tests operators 150 "$root/tests/ops"
tests hook 120 "$root/tests/hf"

# bench STEP SECONDS NAME OPTION...
bench() {
  local step=$1 limit=$2 name=$3
  shift 3
  step "$step" "$limit" "$python" "$root/benchmarks/bench_$name.py" --device cuda "$@" \
    --json "$out/$step.json" "${dry[@]}"
}
operator() { bench "$1" 110 "$1" --seconds "${SECONDS_PER_CASE:-0.3}"; }
ask() {
  local step=$1
  shift
  bench "$step" 100 ask --shape video_llava --size 7b --dtype bfloat16 "$@"
}

operator attention
operator decode
ask ask --frames 32 64 --tokens 32
ask windows --frames 64 128 --tokens 8 --arms intp_ext "intp_ext, window" "stock sdpa" --windows 2 4 16 32
operator kv_cache
operator rope
operator rearrange

sanitizer=$(command -v compute-sanitizer || echo "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer")
left=$((deadline - for_figures - SECONDS))
if is_dry; then
  record sanitizer "needs a GPU" null 0
elif [[ ! -x $sanitizer ]]; then
  record sanitizer "not found" null 0
elif ((left > 20)) && ! timeout $((left < 60 ? left : 60)) "$sanitizer" --error-exitcode 1 "$python" -c \
  'import torch; torch.zeros(1, device="cuda")' >"$work/sanitizer.txt" 2>&1; then
  # some virtual machines refuse it the device
  cat "$work/sanitizer.txt" >>"$log"
  record sanitizer "cannot run here" null 0
else
  # the doctor's self-tests; without PyTorch's caching allocator the end of a tensor is the end of its memory
  for tool in memcheck racecheck; do
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 step "$tool" 90 "$sanitizer" --tool "$tool" \
      --report-api-errors no --error-exitcode 1 "$python" -m intp_ext
  done
fi

for_figures=0
for name in attention decode kv_cache rope rearrange; do
  is_dry && cp "$root"/benchmarks/results/*/"$name.json" "$out" # nothing was measured
  [[ -s $out/$name.json ]] && step "draw_$name" 20 "$python" "$root/benchmarks/plot.py" "$out/$name.json"
done

is_dry || echo "results in $out" >&2
exit "$failed"
