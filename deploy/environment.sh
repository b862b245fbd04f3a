#!/usr/bin/env bash
# Make the environment that a make target needs, say each step and its time, ask nothing.
#   deploy/environment.sh demo | dev | browser
# TORCH_INDEX_URL picks another build of torch (CPU-only or one CUDA version). PYTHON picks the interpreter (3.11 to 3.13).
set -euo pipefail
cd "$(dirname "$0")/.."
extra=${1:?demo, dev or browser}
started=$SECONDS

say() { printf '[setup] %s (%d s)\n' "$1" $((SECONDS - started)); }
fail() { printf '[setup] %s\n' "$1" >&2; exit 4; }
is_root() { [ "$(id -u)" = 0 ]; }

apt_install() { # what-for package...
  local why=$1; shift
  command -v apt-get >/dev/null || return 1
  is_root || return 1
  say "apt-get install $* ($why)"
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"; } >/tmp/sopor-apt-$(id -u).log 2>&1 \
    || { tail -5 /tmp/sopor-apt-$(id -u).log >&2; return 1; }
}

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; }

interpreter() {
  local candidate
  for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null && fits "$candidate"; then command -v "$candidate"; return; fi
  done
  fail "no Python 3.11, 3.12 or 3.13 found; install one (apt-get install python3 python3-venv) or set PYTHON=/path/to/python3"
}

browser() {
  command -v chromium >/dev/null || apt_install "browser tests" chromium || say "no chromium: the browser tests will be skipped (apt-get install chromium)"
  command -v npm >/dev/null || apt_install "page build test" nodejs npm || say "no npm: the page build test will be skipped (apt-get install nodejs npm)"
  ! command -v npm >/dev/null || page_tools || say "npm ci failed (/tmp/sopor-npm-$(id -u).log): the page build test will be skipped"
  ! command -v npm >/dev/null || deploy/fhir/definitions.sh || say "no R4 definitions from npm: one FHIR validator of two will be skipped"
}

page_tools() { # esbuild and TypeScript, as the lock file pins them
  [ services/web/frontend/node_modules/.package-lock.json -nt services/web/frontend/package-lock.json ] && return
  say "npm ci in services/web/frontend (page build test)"
  (cd services/web/frontend && npm ci --no-audit --no-fund) >/tmp/sopor-npm-$(id -u).log 2>&1
}

make_venv() {
  local python; python=$(interpreter)
  say "environment .venv with $("$python" --version)"
  if ! "$python" -m venv .venv >/tmp/sopor-venv.$$ 2>&1; then
    rm -rf .venv
    apt_install "python3-venv is missing" python3-venv || { cat /tmp/sopor-venv.$$ >&2; fail "python3 -m venv failed; as root: apt-get install python3-venv"; }
    "$python" -m venv .venv
  fi
  rm -f /tmp/sopor-venv.$$
  .venv/bin/python -m pip install -q --disable-pip-version-check --upgrade pip
}

install() {
  local stamp=.venv/.sopor-$extra want
  want=$(cat pyproject.toml constraints.txt | sha256sum)
  if [ "$extra" = demo ] && [ "$(cat .venv/.sopor-dev 2>/dev/null)" = "$want" ]; then return; fi
  if [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then return; fi
  [ -x .venv/bin/python ] || make_venv
  local index=()
  [ -z "${TORCH_INDEX_URL:-}" ] || index=(--extra-index-url "$TORCH_INDEX_URL")
  .venv/bin/python -c 'import torch' 2>/dev/null || say "$(.venv/bin/python deploy/torch_size.py "${index[@]}")"
  say "installing sopor[$extra] into .venv"
  .venv/bin/python -m pip install -q --disable-pip-version-check --no-build-isolation -c constraints.txt "${index[@]}" hatchling editables
  .venv/bin/python -m pip install -q --disable-pip-version-check --no-build-isolation -c constraints.txt "${index[@]}" -e ".[$extra]" \
    || fail "pip could not install sopor[$extra]; the lines above say why"
  settle || say "the page cache stays as it is: the first start takes 0.3 GB more"
  printf '%s\n' "$want" >"$stamp"
  say "environment ready"
}

# Compile once here, not in each process at its first start: it costs memory and seconds there.
compile() { .venv/bin/python -m compileall -q -x '/(node_modules|models)/' anesthesia protos backbone services model_server training cli; }

# What was just written lies in the page cache in pieces so large that each process would hold most of each library, needed or not: 0.3 GB
# in all. Read again from disk it holds what it uses.
settle() { sync -f .venv && find .venv -name '*.so*' -size +1M -exec dd if={} iflag=nocache count=0 status=none \; ; }

case $extra in
  demo | dev) install && compile ;;
  browser) browser ;;
  *) fail "unknown environment '$extra': demo, dev or browser" ;;
esac
