#!/usr/bin/env bash
# Does NVIDIA's own client accept our model server? It needs an older protobuf than we have, so it gets a throw-away environment and its own process.
#   PYTHON       interpreter with Sopor's model-server extra (default .venv/bin/python)
#   TRITONCLIENT version of the client (default 2.73.0)
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check "tritonclient[grpc]==${TRITONCLIENT:-2.73.0}"
"$python" -c 'import sys; from protos.inference import open_inference_pb2 as pb; sys.stdout.buffer.write(pb.DESCRIPTOR.serialized_pb)' >"$work/contract"

OMP_NUM_THREADS=1 SOPOR_MODEL_LISTEN=unix:$work/grpc "$python" -m model_server 2>"$work/log" &
server=$!
PYTHONPATH='' "$work/venv/bin/python" deploy/tritonclient/check.py "unix:$work/grpc" "$work/contract" model_server/models || { tail -5 "$work/log" >&2; exit 1; }
kill "$server"
wait "$server" && server=
