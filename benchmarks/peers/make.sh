#!/usr/bin/env bash
# Make the environments of the servers that Sopor is compared with: FOLDER/mlserver and FOLDER/mosec, about 1 GB, each with torch.
#   TORCH_INDEX_URL picks another build of torch (CPU-only or one CUDA version).
set -euo pipefail
folder=${1:?a folder for the environments}
index=()
[ -z "${TORCH_INDEX_URL:-}" ] || index=(--extra-index-url "$TORCH_INDEX_URL")
for peer in mlserver==1.7.1 mosec==0.9.8; do
  python3 -m venv "$folder/${peer%%==*}"
  "$folder/${peer%%==*}/bin/python" -m pip install -q --disable-pip-version-check "${index[@]}" "$peer" torch==2.13.0 numpy
done
