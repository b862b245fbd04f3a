"""Depth scorer: ordered streams to one record for every expected second.

Comes in: Frames and Occupancies of `{pNN}:frames`. Goes out: one Prediction or Refusal a second to `{pNN}:predictions`.
Promises: seconds of a case rise strictly, each recorded once; no window spans two patients; nothing late is shown as fresh.
Owns: nothing on disk; its state is rebuilt from the streams.
"""
