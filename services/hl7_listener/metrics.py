"""What the listener counts. Labels take values of closed sets only: sources of the site file, codes of this package."""

from typing import Final

from backbone.telemetry import counter, gauge, histogram

MESSAGES: Final = counter("listener_messages", "Messages by source, type and answer", "source", "type", "answer")
DUPLICATES: Final = counter("listener_duplicates", "Messages sent again and answered without effect", "source")
REUSED: Final = counter("listener_control_id_reuse", "Messages with a known identity and another content", "source")
FRAMING: Final = counter("listener_framing_faults", "Bytes that are no whole MLLP block, by the connection's source", "source", "code")
DEVIATIONS: Final = counter("listener_deviations", "Messages understood although they depart from the standard", "source", "code")
UNMAPPED: Final = counter("listener_unmapped_rows", "Rows that became no reading", "source", "reason")
CLOCK_OFFSET: Final = gauge("listener_clock_offset_seconds", "Offset of a source's clock", "source")
CONNECTIONS: Final = gauge("listener_connections", "Open connections")
TURNED_AWAY: Final = counter("listener_connections_refused", "Connections over a limit: of all, or of their address", "limit")
PACED_SECONDS: Final = counter("listener_paced_seconds", "Time in which nothing was read, as the source was over its rate", "source")
JOURNAL_BYTES: Final = gauge("listener_journal_bytes", "Size of the journal")
ANSWER_SECONDS: Final = histogram("listener_answer_seconds", "From the last byte of a message to its answer")
FORWARDER_BEHIND: Final = gauge("listener_forwarder_behind", "Journal sequences that are not in the streams yet")
FORWARDER_DOWN: Final = gauge("listener_forwarder_down", "1 while Redis does not answer")
