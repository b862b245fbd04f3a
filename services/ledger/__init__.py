"""The ledger: every Prediction and Refusal, kept for good.

Comes in:  `{pNN}:predictions` of all partitions.
Goes out:  rows in PostgreSQL; the trimming of what they hold from the streams.
Promises:  each entry counts exactly once, whatever dies when; one process writes, others stand by; what does not decode is kept.
Owns:      the tables `records`, `ledger_position`, `unreadable`.
"""
