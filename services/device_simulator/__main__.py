"""`python -m services.device_simulator`."""

from services.device_simulator.main import main

if __name__ == "__main__":
    main()
