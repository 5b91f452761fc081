#!/usr/bin/env bash
# Everything that needs a GPU, in two stages and without a network: build, tests, compute-sanitizer, times.
# Uses the CUDA, cmake, PyTorch, CuPy and pybind11 found here; benchmarks/README.md tells the rest.
#
#   benchmarks/gpu.sh [--stage 1|2] [--minutes N] [--wheels DIR] [--name NAME] [--dry-run]
#
#   --stage 1      kernel tests while the networks compile, then the times (7 minutes)
#   --stage 2      agreement, engine tests, sanitizers, eight samples, kernels, variants (6 minutes);
#                  without --stage both, one after the other
#   --minutes N    of a stage, everything included
#   --wheels DIR   take the wheels of DIR (for this run only, nothing is changed outside the
#                  build folder) where Python packages are missing
#   --name NAME    of the result; default: the GPU's
#   --dry-run      on any CPU, with a stand-in for the GPU and tiny networks: does the script itself work?
#
# PYTHON chooses the interpreter. Results: $OUT, by default benchmarks/results: gpu_NAME_1 and _2 (.json,
# .log), both together gpu_NAME (.json, .txt). A step that fails does not stop the others; the exit code
# is 1 if any failed.
set -uo pipefail
from=$PWD
cd "$(dirname "$0")/.." || exit 2

# A path as the caller means it.
whole() { case $1 in /*) echo "$1" ;; *) echo "$from/$1" ;; esac; }

python=${PYTHON:-python3} stages='' minutes='' dry='' rest=()
while (($#)); do
  case $1 in
    --stage)
      case ${2:-} in 1 | 2) stages=$2 ;; *) echo "gpu.sh: --stage 1 or 2" >&2 && exit 2 ;; esac
      shift
      ;;
    --minutes) minutes=${2:?--minutes needs a number} && shift ;;
    --wheels) rest+=(--wheels "$(whole "${2:?--wheels needs a folder}")") && shift ;;
    --name) rest+=(--name "${2:?--name needs a name}") && shift ;;
    --dry-run) dry=yes rest+=(--dry-run) ;;
    -h | --help) sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//; p;}' "$0" && exit 0 ;;
    *) echo "gpu.sh: unknown option $1; see --help" >&2 && exit 2 ;;
  esac
  shift
done
case $minutes in *[!0-9]* | 0*) echo "gpu.sh: --minutes takes a whole number" >&2 && exit 2 ;; esac

work=${WORK:-$PWD/build/gpu} out=${OUT:-$PWD/benchmarks/results}
[[ -n $dry ]] && work=${WORK:-$PWD/build/gpu_dry_run} out=${OUT:-$work/results}
work=$(whole "$work") out=$(whole "$out")
mkdir -p "$work" "$out" || exit 2
# A dry run compiles nothing: where the sources hold no compiled core, it takes the petrt that is installed.
sources=$PWD/python:
[[ -n $dry ]] && ! compgen -G "python/petrt/_core*.so" >/dev/null && sources=''
# The sources as one package, as an installation has them.
[[ -n $sources ]] && ln -sfn ../../export python/petrt/export
export PYTHONPATH=$sources$work/site${PYTHONPATH:+:$PYTHONPATH}
# What is compiled stays here between the stages.
export PETRT_CACHE=$work/cache TORCHINDUCTOR_CACHE_DIR=$work/inductor CUPY_CACHE_DIR=$work/cupy
export CUDA_HOME=${CUDA_HOME:-/usr/local/cuda}
export PATH=$PATH:$CUDA_HOME/bin
ulimit -c 0 # a process that is ended writes where it stood, not a core

status=0 stopped='' child=''
# A stage that is told to stop ends what it runs and writes its result: wait for that.
trap 'stopped=yes; [[ -n $child ]] && kill -TERM "$child" 2>/dev/null' INT TERM
for stage in ${stages:-1 2}; do
  limit=${minutes:-$((stage == 1 ? 7 : 6))}
  # The stage keeps its own time; this is for a machine on which even that hangs.
  timeout --foreground --kill-after=5 $((limit * 60)) "$python" -m benchmarks.gpu.run \
    --stage "$stage" --minutes "$limit" --work "$work" --out "$out" "${rest[@]}" &
  child=$!
  while wait "$child"; code=$?; kill -0 "$child" 2>/dev/null; do :; done
  ((code == 0)) || status=1
  [[ -n $stopped ]] && exit 1
done
exit "$status"
