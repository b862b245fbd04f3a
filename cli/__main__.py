"""`python -m cli` is `sopor`."""

from cli.main import run

run()
