"""The ledger: every Prediction and Refusal, kept for good, each with its leaf in a log that anyone can verify.

Comes in:  `{pNN}:predictions`, `{pNN}:events`, `{pNN}:frames` and `{pNN}:occupancies` of all partitions; rows of `audit_intake`.
Goes out:  rows in PostgreSQL; signed checkpoints; one sealed file a case with the entries that its records rest on; the trimming of
           what rows and files hold from the streams.
Promises:  each entry counts exactly once and has exactly one leaf, whatever dies when; leaf indexes have no gap; one process writes,
           others stand by; what does not decode is kept.
Owns:      the tables `records`, `ledger_position`, `unreadable`, `identities`, `leaves`, `tree`, `checkpoints`, `event_position`,
           `archives`, `archive_position`, and `leaf` of `audit_intake`; the archive folder.
"""
