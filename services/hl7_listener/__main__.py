"""`python -m services.hl7_listener`."""

from services.hl7_listener.main import main

main()
