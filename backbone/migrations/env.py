"""Alembic's entry: runs on the connection that `upgrade` opened, inside its transaction."""

from alembic import context

import backbone.ehr_tables  # noqa: F401  its tables join the same Base
from backbone.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
