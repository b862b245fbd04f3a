"""`python -m services.ehr_writer`: the planner and the sweeper. The workers are started by Celery: see `tasks`."""

from services.ehr_writer.main import main

main()
