"""Operating rooms that are not real: patients, monitors, pumps and ADT, spoken in HL7 as devices would.

Comes in: a scenario (YAML), recordings of the data folder where it is present, commands on the control socket.
Goes out: HL7 v2 over MLLP (ORU^R01, ADT^A01/A02/A03) to one listener, every message marked MSH-11 = T; a JSONL log of what was sent.
Promises: the same seed gives the same patients; a message is repeated unchanged until it is acknowledged or refused; A01 comes first.
Owns: nothing of Sopor's; its log is the other half of every count.
"""
