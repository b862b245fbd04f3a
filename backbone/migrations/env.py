"""Alembic's entry: runs on the connection that `upgrade` opened, inside its transaction."""

from alembic import context

from backbone.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
