"""`sopor demo` whose servers stay up after the verdict, until a stop signal: a test may then look at, and spoil, what was judged.

The verdict is written to the file that `STAYING_VERDICT` names as soon as it is made; it is printed, and exits, as always.
"""

import json
import os
import sys
from pathlib import Path

import cli.demo
from cli.demo_screen import DemoScreen
from cli.main import run


class Staying(DemoScreen):
    """A screen that asks nobody to stop."""

    def _close(self, closing):
        if self.verdict is None:
            self.verdict = closing.step()
            if self.verdict is not None:
                fresh = Path(os.environ["STAYING_VERDICT"])
                fresh.with_suffix(".new").write_text(json.dumps(self.verdict.as_data()))
                fresh.with_suffix(".new").replace(fresh)


cli.demo.DemoScreen = Staying
run(sys.argv[1:])
