"""The schema brought up to date, by the process that must and by the one that need not."""

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from backbone.database import MIGRATIONS, newest_revision, upgrade

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
AGAIN = "import sys; from backbone.database import upgrade; upgrade(sys.argv[1]); print('alembic' in sys.modules)"


def test_the_newest_revision_is_alembics_head():
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))

    head = ScriptDirectory.from_config(config).get_current_head()

    assert newest_revision() == head


def test_a_schema_that_is_up_to_date_costs_no_process_alembic(database_url):
    upgrade(database_url)

    ended = subprocess.run([sys.executable, "-c", AGAIN, database_url], cwd=ROOT, capture_output=True, text=True, check=True)

    assert ended.stdout == "False\n"
