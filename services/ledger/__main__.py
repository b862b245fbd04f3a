"""`python -m services.ledger`."""

from services.ledger.main import main

main()
