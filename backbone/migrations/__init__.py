"""The schema's history (Alembic), run by `backbone.database.upgrade`; each revision only adds, so that old readers go on."""
