#!/usr/bin/env bash
# Build the images, bring the whole demo up with podman and podman-compose, wait for the first score in PostgreSQL, ask each service for its
# health, and take everything down again. Images stay for the next time (podman image prune frees what is old, with -a all).
#   deploy/containers/check.sh
# Where no image registry answers, base, Redis and PostgreSQL are made from Debian packages (as root). Package index, certificates and local
# folders of this machine's pip are used for the build. Exit: 0 shown, 1 failed, 4 podman cannot run here, with the reason.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=deploy/containers project=sopor_check
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sopor/compose
started=$SECONDS mounts=() brought_up= scratch=$(mktemp -d)
score_within_s=${SCORE_WITHIN_S:-240} health_within_s=${HEALTH_WITHIN_S:-120}
services=(redis postgres hl7_listener model_server depth_scorer ledger web device_simulator ehr ehr_writer ehr_worker)

say() { printf '[compose] %s (%d s)\n' "$1" $((SECONDS - started)); }
fail() { printf '[compose] FAILED: %s\n' "$1" >&2; exit 1; }
cannot() { printf '[compose] not checked: %s\n' "$1" >&2; exit 4; }
is_root() { [ "$(id -u)" = 0 ]; }
has() { command -v "$1" >/dev/null; }

debian_packages() { # package...
  is_root && has apt-get || return 1
  say "apt-get install $*"
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"; } >"$scratch/apt.log" 2>&1 \
    || { tail -5 "$scratch/apt.log" >&2; return 1; }
}

find_podman() {
  has podman || debian_packages podman buildah runc netavark aardvark-dns iptables uidmap catatonit \
    || cannot "podman is not installed (as root it is fetched with apt-get; else: apt-get install podman)"
  has podman-compose && [[ $(podman-compose --version 2>/dev/null) =~ version\ 1\.[6-9] ]] && return
  if [ ! -x "$cache/venv/bin/podman-compose" ]; then
    say "podman-compose 1.6.0 into $cache/venv"
    python3 -m venv "$cache/venv" && "$cache/venv/bin/python" -m pip install -q --disable-pip-version-check podman-compose==1.6.0 \
      || { rm -rf "$cache/venv"; cannot "podman-compose could not be installed; the lines above say why"; }
  fi
  PATH=$cache/venv/bin:$PATH
}

at_most() { [ "$2" != unlimited ] && [ "$2" -lt "$1" ] && echo "$2" || echo "$1"; }

configure_podman() { # what a container inside a container, or a machine without systemd, needs
  local files processes; files=$(at_most 20000 "$(ulimit -Hn)") processes=$(at_most 4096 "$(ulimit -Hu)")
  {
    printf '[containers]\ndefault_ulimits = ["nofile=%s:%s", "nproc=%s:%s"]\nlog_driver = "k8s-file"\n' "$files" "$files" "$processes" "$processes"
    printf '[engine]\nevents_logger = "file"\n'
    [ -d /run/systemd/system ] || printf 'cgroup_manager = "cgroupfs"\n'
    [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] || ! has runc || printf 'runtime = "runc"\n' # crun knows no hybrid hierarchy
  } >"$scratch/containers.conf"
  export CONTAINERS_CONF=$scratch/containers.conf
  [ -d /run/systemd/system ] || export DISABLE_HC_SYSTEMD=true # health is asked below, not by systemd's timers
  podman info >"$scratch/info" 2>&1 || cannot "podman info: $(tail -1 "$scratch/info")"
}

use_pip_settings() { # of this machine, for the build; local folders and files that they name are mounted
  local name variable value part
  for name in index-url extra-index-url find-links cert; do
    variable=PIP_$(tr 'a-z-' 'A-Z_' <<<"$name")
    value=${!variable:-$(python3 -m pip config get "global.$name" 2>/dev/null || true)}
    [ -n "$value" ] || continue
    export "$variable=$value"
    for part in $value; do
      part=${part#file://}
      case $part in */simple) [ ! -d "$part" ] || part=${part%/simple} ;; esac # an index's files lie beside it
      [ "${part:0:1}" != / ] || [ ! -e "$part" ] || mounts+=("-v $part:$part:ro")
    done
  done
  # A CPU build of PyTorch at hand: no other index is asked for one.
  if [ -z "${TORCH_INDEX_URL+set}" ] && compgen -G "${PIP_FIND_LINKS:-/nowhere}/torch-*+cpu*.whl" >/dev/null; then export TORCH_INDEX_URL=; fi
}

debian_base() {
  podman image exists localhost/sopor-local/base && return
  has debootstrap || debian_packages debootstrap || cannot "no image registry answers, and without root no base image can be made (debootstrap)"
  is_root || cannot "no image registry answers, and without root no base image can be made (debootstrap)"
  say "no image registry answers: a Debian base with debootstrap"
  debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$scratch/root" >"$scratch/debootstrap.log" \
    || { tail -3 "$scratch/debootstrap.log" >&2; cannot "debootstrap could not make a base image"; }
  tar -C "$scratch/root" -c . | podman import -q - localhost/sopor-local/base >/dev/null
  rm -rf "$scratch/root"
}

local_server() { # name
  podman image exists "localhost/sopor-local/$1" && return
  say "$1 from Debian's packages"
  podman build -q --network host --build-arg BASE=localhost/sopor-local/base -t "localhost/sopor-local/$1" -f "$here/local/$1.Dockerfile" "$here/local" \
    >"$scratch/$1.log" 2>&1 || { tail -5 "$scratch/$1.log" >&2; fail "the image of $1 could not be built"; }
}

image_at_hand() { podman image exists "$1" || timeout 120 podman pull -q "$1" >/dev/null 2>&1; }

find_images() { # the compose file's own where a registry answers
  local name variable default
  for name in base redis postgres; do
    variable=${name^^}_IMAGE default=$(sed -nE "s/.*\\\$\{${name^^}_IMAGE:-([^}]+)\}.*/\1/p" docker-compose.yml | head -1)
    if [ -n "${!variable:-}" ] || image_at_hand "$default"; then continue; fi
    debian_base
    [ "$name" = base ] || local_server "$name"
    export "$variable=localhost/sopor-local/$name"
  done
  podman run --rm --network none "${BASE_IMAGE:-$(sed -nE 's/.*\$\{BASE_IMAGE:-([^}]+)\}.*/\1/p' docker-compose.yml)}" true 2>"$scratch/run" \
    || cannot "podman cannot start a container: $(tail -1 "$scratch/run")"
}

compose() { podman-compose --project-name "$project" --profile demo --profile ehr "$@"; }
container() { printf '%s_%s_1' "$project" "$1"; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

build() {
  say "building the images"
  compose --podman-build-args="--network host ${mounts[*]}" --parallel 1 build >"$scratch/build.log" 2>&1 \
    || { tail -25 "$scratch/build.log" >&2; fail "an image could not be built"; }
  say "images built"
}

take_down() {
  local code=$?
  trap - EXIT
  if [ -n "$brought_up" ]; then
    compose down -v >"$scratch/down.log" 2>&1 || { tail -5 "$scratch/down.log" >&2; code=1; }
    say "taken down"
  fi
  rm -rf "$scratch"
  exit "$code"
}

ask_database() { podman exec "$(container postgres)" psql --username sopor --dbname sopor -Atc "$1" 2>/dev/null || true; }

first_score() {
  local query="SELECT bed, value, low, high FROM records WHERE outcome = 'prediction' AND tier = 'E' ORDER BY recorded_at LIMIT 1" found
  local deadline=$((SECONDS + score_within_s))
  while [ $SECONDS -lt $deadline ]; do
    found=$(ask_database "$query")
    [ -z "$found" ] || { say "first score (bed|value|low|high): $found"; return; }
    sleep 1
  done
  return 1
}

healthy() { # service
  podman healthcheck run "$(container "$1")" >"$scratch/health" 2>&1
}

all_healthy() {
  local deadline=$((SECONDS + health_within_s)) service unwell
  while :; do
    unwell=()
    for service in "${services[@]}"; do healthy "$service" || unwell+=("$service: $(tr '\n' ' ' <"$scratch/health")"); done
    [ ${#unwell[@]} -gt 0 ] || return 0
    [ $SECONDS -lt $deadline ] || { printf '[compose] not healthy: %s\n' "${unwell[@]}" >&2; return 1; }
  done
}

tell() {
  podman ps --all --quiet --filter "label=io.podman.compose.project=$project" \
    | xargs -r podman inspect --format '{{.Name}} {{.State.Status}}, exit code {{.State.ExitCode}}, {{.RestartCount}} restarts' | sort
  podman images --filter reference='sopor/*' --format '{{.Repository}}\t{{.Size}}' | sort
}

tell_why() {
  tell
  local service
  for service in keys ehr_seed "${services[@]}"; do
    printf -- '---- %s\n' "$service"
    podman logs --tail 5 "$(container "$service")" 2>&1 || true
  done >&2
}

trap take_down EXIT
trap 'exit 130' INT TERM
find_podman
configure_podman
use_pip_settings
find_images
build
DEVICES_PORT=$(free_port) PAGE_PORT=$(free_port)
export DEVICES_PORT PAGE_PORT
brought_up=yes
compose up -d >"$scratch/up.log" 2>&1 || { tail -15 "$scratch/up.log" >&2; tell_why; fail "the services could not be started"; }
say "up: page http://127.0.0.1:$PAGE_PORT"
first_score || { tell_why; fail "no score within $score_within_s s"; }
all_healthy || { tell_why; fail "not all services are healthy"; }
python3 -c 'import sys, urllib.request as u; sys.exit("OR 1" not in u.urlopen(sys.argv[1], timeout=5).read().decode())' \
  "http://127.0.0.1:$PAGE_PORT/api/wall" || fail "the page does not answer on its published port"
tell
say "shown: all services healthy, first score recorded, page answers"
