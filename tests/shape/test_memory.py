"""What a process keeps in memory: the libraries that only others need stay out of it."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.shape
ROOT = Path(__file__).parents[2]
HEAVY = ("alembic", "celery", "grpc", "numpy", "scipy", "scipy.signal", "sqlalchemy", "torch")  # 8 to 180 MB each
LIBRARIES = {
    "cli.main": set(),
    "services.device_simulator.main": {"numpy", "scipy"},
    "services.depth_scorer.main": {"grpc", "numpy"},
    "services.hl7_listener.main": {"grpc", "numpy"},
    "services.ledger.main": {"sqlalchemy"},
    "services.web.main": {"sqlalchemy"},
    "services.ehr_writer.main": {"celery", "sqlalchemy"},
    "services.ehr_writer.tasks": {"celery", "sqlalchemy"},
}
PROGRAM = "import sys, importlib; importlib.import_module(sys.argv[1]); print(*(n for n in sys.argv[2:] if n in sys.modules))"


@pytest.mark.parametrize("module", LIBRARIES)
def test_a_process_carries_no_heavy_library_that_it_does_not_use(module):
    ended = subprocess.run([sys.executable, "-c", PROGRAM, module, *HEAVY], cwd=ROOT, capture_output=True, text=True, check=True)

    assert set(ended.stdout.split()) == LIBRARIES[module]
