"""The wall: every room of a site on one live page.

Comes in:  `{pNN}:predictions`, read without a group; the ledger's position and past records, from PostgreSQL.
Goes out:  one page, its state as JSON, and a stream of changes (SSE), on loopback; an event for the audit log of each session that looks.
Promises:  nothing older than its bound is shown as current, also when this process, the stream or the browser hangs.
Owns:      nothing: all that it shows can be rebuilt from the streams and the tables.
"""
