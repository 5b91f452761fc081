#!/usr/bin/env bash
# Everything that needs a GPU, in one command and without a network: build, gpu tests,
# compute-sanitizer, latency. Uses the CUDA, cmake, PyTorch, CuPy and pybind11 found here.
#
#   benchmarks/gpu.sh [--quick] [--wheels DIR] [--name NAME] [--minutes N]
#
#   --quick        this GPU's architecture only, no sanitizer, few repetitions
#   --wheels DIR   install the wheels of DIR (for this machine only, nothing is changed outside the
#                  build folder) where Python packages are missing
#   --name NAME    of the result; default: the GPU's
#   --minutes N    in all; default 10
#
# PYTHON chooses the interpreter. Results: $OUT, by default benchmarks/results:
# gpu_NAME.json and gpu_NAME.txt. A stage that fails does not stop the others; the exit code is 1 if
# any failed.
# shellcheck disable=SC2329  # functions are called by name, through "bash -c"
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

python=${PYTHON:-python3} quick='' wheels='' name='' minutes=10
while (($#)); do
  case $1 in
    --quick) quick=yes ;;
    --wheels) wheels=${2:?--wheels needs a folder} && shift ;;
    --name) name=${2:?--name needs a name} && shift ;;
    --minutes) minutes=${2:?--minutes needs a number} && shift ;;
    -h | --help) sed -n '2,/^# shellcheck/{/^# shellcheck/d; s/^# \{0,1\}//; p;}' "$0" && exit 0 ;;
    *) echo "gpu.sh: unknown option $1; see --help" >&2 && exit 2 ;;
  esac
  shift
done

root=$PWD work=$PWD/build/gpu out=${OUT:-$PWD/benchmarks/results}
site=$work/site
mkdir -p "$work" "$out"
: >"$work/stages.tsv"
export PYTHONPATH=$root/python:$site${PYTHONPATH:+:$PYTHONPATH}
export PETRT_CACHE=$work/cache TORCHINDUCTOR_CACHE_DIR=$work/inductor
export PETRT_REQUIRE_GPU=1  # a gpu test that finds none fails
export CUDA_HOME=${CUDA_HOME:-/usr/local/cuda}
export PATH=$PATH:$CUDA_HOME/bin
status=0

left() { echo $((minutes * 60 - SECONDS)); }

# stage NAME SECONDS COMMAND...: run it for so long at most, its output on screen and in a file.
stage() {
  local label=$1 limit=$2 begun=$SECONDS code
  shift 2
  ((limit < $(left))) || limit=$(left)
  echo "== $label"
  if ((limit < 10)); then
    echo "no time left"
    code=124
  else
    timeout --signal=INT --kill-after=10 "$limit" "$@" 2>&1 | tee "$work/$label.log"
    code=${PIPESTATUS[0]}
  fi
  ((code == 0)) || status=1
  printf '%s\t%d\t%d\n' "$label" $((SECONDS - begun)) "$code" >>"$work/stages.tsv"
  echo "== $label: exit $code, $((SECONDS - begun)) s"
  return "$code"
}

packages() {
  local wheel
  if [[ -n $wheels ]] && ! "$python" benchmarks/needs.py; then
    for wheel in "$wheels"/*.whl; do
      "$python" -m pip install -q --disable-pip-version-check --no-index --no-deps --upgrade \
        --target "$site" "$wheel" || echo "left out: ${wheel##*/}"
    done
  fi
  "$python" benchmarks/needs.py
}

build() {
  local generator=() architectures=() gpu
  gpu=$("$python" benchmarks/needs.py --architecture) || return 1
  command -v nvcc >/dev/null || { echo "no nvcc on PATH or in $CUDA_HOME/bin" && return 1; }
  command -v ninja >/dev/null && generator=(-G Ninja)
  [[ -n $quick ]] && architectures=("-DCMAKE_CUDA_ARCHITECTURES=$gpu")
  cmake -S . -B "$work/cmake" "${generator[@]}" "${architectures[@]}" -DPETRT_CUDA=ON \
    -DPython_EXECUTABLE="$(command -v "$python")" \
    -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" &&
    cmake --build "$work/cmake" --parallel &&
    cmake --install "$work/cmake" --prefix "$root/python" &&
    "$python" -c 'import petrt._cuda as c; print("petrt._cuda for", *c.architectures)'
}

# The machine's own versions decide what warns: here warnings are shown, not fatal.
gpu_tests() { "$python" -m pytest -m gpu -W default -rs -p no:cacheprovider "$@"; }

sanitizer() {
  compute-sanitizer --tool "$1" --error-exitcode 9 "$python" -m pytest -m gpu -W default -q \
    -p no:cacheprovider tests/core/test_cuda_ops.py tests/core/test_cuda_loop.py
}

export -f packages build gpu_tests sanitizer
export python quick wheels root work site

if stage packages 120 bash -c packages && stage build 300 bash -c build; then
  # What petrt doctor --json says, without the packages that only the command line needs.
  stage doctor 60 "$python" -c 'import json; from petrt.doctor import examine
print(json.dumps(examine().as_json(), indent=1))'
  name=${name:-$("$python" benchmarks/needs.py --name)}
  stage tests 200 bash -c 'gpu_tests tests/core/test_cuda_*.py tests/gpu'
  if [[ -n $quick ]]; then
    echo "== sanitizer: left out by --quick"
  elif command -v compute-sanitizer >/dev/null; then
    stage memcheck 60 bash -c 'sanitizer memcheck'
    stage racecheck 60 bash -c 'sanitizer racecheck'
  else
    echo "== sanitizer: no compute-sanitizer on PATH or in $CUDA_HOME/bin"
  fi
  # It begins no section that could not end in time.
  stage latency 3600 "$python" benchmarks/latency.py ${quick:+--quick} --budget $(($(left) - 100)) \
    --out "$out/gpu_${name:-unknown}.json"
fi
name=${name:-unknown}
"$python" benchmarks/stages.py "$work/stages.tsv" "$out/gpu_$name.json" |
  tee "$out/gpu_$name.txt"
exit "$status"
