"""Whether all is as it should be after a run of simulated rooms: accounts that know nothing of each other, and what they say together.

`sent` is the simulator's own log, `journal` the listener's SQLite files, `streams` what Valkey holds, `ledger` the records in PostgreSQL,
`ehr` what a search finds in the EHR. `minutes` says by the clinical rules what the EHR should hold, `share` how much was scored, `verdict`
compares. Only `reading` and the modules it names touch a file or a server; the rest is pure.
"""
