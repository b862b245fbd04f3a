"""The HL7 listener: device and ADT messages into the journal, and from there into the streams.

Comes in:  HL7 v2 over MLLP: ORU^R01 of monitors and pumps, ADT^A01, A02, A03.
Goes out:  an answer to each message; Frames and Occupancies in `{pNN}:frames`, events for the audit log in `{p00}:events`;
           `journal.v1` for those who look into the journal.
Promises:  what was answered with AA or CA stands in the journal, and its effects stand in the streams exactly once.
Owns:      the journal folder, the ADT board, the sources' clock offsets.
"""
