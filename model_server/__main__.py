"""`python -m model_server`."""

from model_server.main import main

main()
