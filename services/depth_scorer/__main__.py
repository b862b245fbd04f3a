"""`python -m services.depth_scorer`."""

from services.depth_scorer.main import main

main()
