"""Processes on one machine: Valkey and PostgreSQL from wheels, then Sopor's own, in order; restarted when they die, drained at the end."""
