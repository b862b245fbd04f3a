"""The EHR writer: each scored minute as a FHIR R4 Observation in the patient's record.

Comes in:  rows of `records`, `leaves`, `checkpoints` and `identities` in PostgreSQL.
Goes out:  Observation, Provenance and Device at each target of the site; outbox ids over Celery to the workers; events for the audit log.
Promises:  a due minute is written once, whatever dies when; no number without 30 scored seconds, or without its leaves;
           nothing to a patient who is in doubt.
Owns:      the table `outbox`.
"""
