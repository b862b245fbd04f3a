"""Check what an EHR holds of one minute against an export of the audit log, with Python 3.11 and nothing else.

    python3 verify_audit.py EXPORT --key audit.pub                      # first: is the log itself whole?
    python3 check_provenance.py EXPORT PROVENANCE.json [OBSERVATION.json]

The JSON files are as the EHR gives them (`GET Provenance?target=Observation/x`, the resource or a Bundle with it). Exit code 0: inputs,
leaves and value agree; 7: something differs, in words; 2: a file cannot be read, or the Provenance names no leaf.
"""

import hashlib
import json
import statistics
import sys
from datetime import datetime
from pathlib import Path

FORM = "sopor audit export 1"
DIFFERS, UNREADABLE = 7, 2
SYSTEM = "https://sopor.example/fhir/NamingSystem/"


def resource_of(path: str, kind: str) -> dict:
    """Return the resource of a file, also out of a Bundle."""
    found = json.loads(Path(path).read_text(encoding="utf-8"))
    entries = [found, *(entry["resource"] for entry in found.get("entry", []))]
    return next(one for one in entries if one.get("resourceType") == kind)


def named(provenance: dict, name: str) -> list[str]:
    """Return the identifiers of the sources in one of our systems."""
    found = [entity["what"].get("identifier", {}) for entity in provenance["entity"]]
    return [one["value"] for one in found if one.get("system") == SYSTEM + name]


def leaves_of(export: str, case_id: str, period: range, last: int) -> tuple[str, list[tuple[dict, bytes]]]:
    """Return the log's origin, and entry and hash of the leaves of the records of these seconds of the case."""
    origin, found = "", []
    with Path(export).open(encoding="utf-8", newline="\n") as lines:
        if next(lines).rstrip("\n") != FORM:
            raise ValueError("not an export of the audit log")
        for line in lines:
            if line.startswith("K "):
                origin = line[2:].partition("+")[0]
            if not line.startswith("L "):
                continue
            text = line[2:].rstrip("\n").encode()
            said = json.loads(text)
            mine = said["kind"] == "record" and said["case_id"] == case_id
            if mine and said["second"] in period and said["index"] <= last:
                found.append((said, hashlib.sha256(b"\0" + text).digest()))
    return origin, found


def faults_of(provenance: dict, observation: dict | None, export: str) -> list[str]:
    """Return in words what differs."""
    names = named(provenance, "ledger-leaf")
    begin, end = (int(datetime.fromisoformat(provenance["occurredPeriod"][one]).timestamp()) for one in ("start", "end"))
    last = int(names[-1].rpartition("/")[2])
    origin, leaves = leaves_of(export, named(provenance, "case")[0], range(begin, end), last)
    indexes = dict.fromkeys(f"{origin}/{said['index']}" for said, _ in (*leaves[:1], *leaves[-1:]))
    inputs = hashlib.sha256(b"".join(said["second"].to_bytes(8, "big") + bytes.fromhex(said["input_hash"]) for said, _ in leaves))
    hashes = hashlib.sha256(b"".join(hashed for _, hashed in leaves))
    values = [float(said["value"]) for said, _ in leaves if said.get("tier") == "E"]
    written = (observation or {}).get("valueQuantity", {}).get("value")
    agrees = {
        "first and last leaf": list(indexes) == names,
        "hash over the leaves": [hashes.hexdigest()] == named(provenance, "ledger-leaves-sha256"),
        "hash over the inputs": [inputs.hexdigest()] == named(provenance, "input-sha256"),
        "value": written is None or (values != [] and round(statistics.median(values), 1) == float(written)),
    }
    return [what for what, good in agrees.items() if not good]


def main(arguments: list[str]) -> int:
    """Check the files of the command line; return the exit code."""
    try:
        export, provenance, *observation = arguments
        seen = resource_of(observation[0], "Observation") if observation else None
        faults = faults_of(resource_of(provenance, "Provenance"), seen, export)
    except (OSError, ValueError, KeyError, IndexError, StopIteration) as fault:
        sys.stderr.write(f"cannot be checked: {type(fault).__name__} {fault}\n\n{__doc__}")
        return UNREADABLE
    sys.stdout.write("".join(f"differs: {fault}\n" for fault in faults) or "EHR and audit log agree\n")
    return DIFFERS if faults else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
