"""The EHR writer: each scored minute as a FHIR R4 Observation in the patient's record.

Comes in:  rows of `records`, `identities` and (later) `leaves` in PostgreSQL.
Goes out:  Observation, Provenance and Device at each target of the site; outbox ids over Celery to the workers.
Promises:  a due minute is written once, whatever dies when; no number without 30 scored seconds; nothing to a patient who is in doubt.
Owns:      the table `outbox`.
"""
