"""The built page comes from its sources, byte for byte."""

import json
import os
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "services" / "web"
FRONTEND, STATIC = WEB / "frontend", WEB / "static"


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def test_the_built_files_name_the_sources_that_are_there():
    assets = json.loads((STATIC / "assets.json").read_text())

    names = ["build.mjs", "package-lock.json", "package.json", "tsconfig.json", *(f"src/{p.name}" for p in (FRONTEND / "src").iterdir())]
    assert assets["sources"] == {name: _digest(FRONTEND / name) for name in names}, "sources changed: make assets"
    assert assets["built"] == {path.name: _digest(path) for path in STATIC.iterdir() if path.name != "assets.json"}


def test_building_again_gives_the_same_bytes(tmp_path):
    node = shutil.which("node")
    if not (FRONTEND / "node_modules" / "esbuild").exists() and os.environ.get("CI"):
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=FRONTEND, check=True)
    if node is None or not (FRONTEND / "node_modules" / "esbuild").exists():
        pytest.skip("needs node and `npm ci` in services/web/frontend")

    subprocess.run([node, "build.mjs", str(tmp_path)], cwd=FRONTEND, check=True)

    assert {path.name: _digest(path) for path in tmp_path.iterdir()} == {path.name: _digest(path) for path in STATIC.iterdir()}


def test_the_lock_pins_every_package_and_names_no_host():
    text = (FRONTEND / "package-lock.json").read_text()
    lock = json.loads(text)
    wanted = json.loads((FRONTEND / "package.json").read_text())["devDependencies"]

    assert "://" not in text
    assert "resolved" not in text
    assert {name: lock["packages"][f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert all(package.get("integrity") for name, package in lock["packages"].items() if name)
