"""What a peer may do: the limits that keep one bad peer from harming the others. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PeerLimits:
    """Times, sizes, connections and rates."""

    idle_s: float  # from one message to the next
    frame_s: float  # from the first byte of a message to its last
    rest_s: float  # silence that ends a message, where its source may leave out its end
    answer_s: float  # for taking an answer off our hands
    keep_alive_s: float  # from silence to the kernel's first question whether the peer is there
    message_bytes: int
    connections: int
    connections_per_address: int
    source_hz: float  # messages of one source
    strangers_hz: float  # messages of all senders that the site file does not name
