"""`journal.v1`: what the listener lets people see of its journal. Identity never leaves it in clear."""

from typing import Final

import grpc

from protos.journal.v1 import journal_pb2 as pb
from protos.journal.v1 import journal_pb2_grpc
from services.hl7_listener.forwarder import Forwarder
from services.hl7_listener.journal import Journal
from services.hl7_listener.journal_reader import JournalReader

MOST_QUARANTINED: Final = 1000
USUAL_QUARANTINED: Final = 100


class Inspection(journal_pb2_grpc.JournalServicer):
    """Answers from the journal's files."""

    def __init__(self, listener: str, journal: Journal, forwarder: Forwarder) -> None:
        """Look into one listener."""
        self._listener, self._journal, self._forwarder = listener, journal, forwarder
        self._reader = JournalReader(journal.folder)

    async def Status(self, request: pb.StatusRequest, context: object) -> pb.StatusResponse:  # noqa: ARG002, N802  gRPC's name
        """Return counts by source and bed."""
        totals = self._reader.totals()
        return pb.StatusResponse(
            listener=self._listener,
            generation=self._journal.generation,
            last_sequence=totals.last_sequence,
            messages=totals.messages,
            not_forwarded=self._reader.waiting(self._forwarder.position),
            sources=[
                pb.SourceStatus(source=source, bed=bed, messages=messages, refused=refused, last_received_at_us=last_us)
                for source, bed, messages, refused, last_us in totals.traffic
            ],
        )

    async def ListQuarantine(  # noqa: N802  gRPC's name
        self,
        request: pb.ListQuarantineRequest,
        context: object,  # noqa: ARG002
    ) -> pb.ListQuarantineResponse:
        """Return the newest messages that had no effect, and why."""
        limit = min(request.limit or USUAL_QUARANTINED, MOST_QUARANTINED)
        return pb.ListQuarantineResponse(
            messages=[
                pb.QuarantinedMessage(
                    sequence=sequence, received_at_us=at_us, source=source, control_id=control_id, code=code, reason=reason
                )
                for sequence, at_us, source, control_id, code, reason in self._reader.quarantine(limit)
            ]
        )

    async def ListUnmapped(  # noqa: N802  gRPC's name
        self,
        request: pb.ListUnmappedRequest,  # noqa: ARG002
        context: object,  # noqa: ARG002
    ) -> pb.ListUnmappedResponse:
        """Return the rows that became no reading, the most frequent first."""
        return pb.ListUnmappedResponse(
            codes=[
                pb.UnmappedCode(
                    source=source,
                    code=code,
                    coding_system=system,
                    name=name,
                    unit=unit,
                    reason=reason,
                    count=count,
                    last_seen_us=last_us,
                )
                for source, code, system, name, unit, reason, count, last_us in self._reader.unmapped()
            ]
        )


async def serve(inspection: Inspection, port: int) -> tuple[grpc.aio.Server, int]:
    """Serve on loopback; return the server and its port (a free one for port 0)."""
    server = grpc.aio.server()
    journal_pb2_grpc.add_JournalServicer_to_server(inspection, server)
    chosen = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server, chosen
