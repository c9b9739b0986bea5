"""Sizes and intervals of the wire on which both ends of a stream rely."""

from typing import Final

# One write. Larger, and an unrelated call waits for it: 256 KiB takes about 0.3 ms on loopback.
MAX_BATCH_BYTES: Final = 256 * 1024
# Payload of one frame: two of them fit in a batch, so a batch never holds one call alone.
MAX_DATA_BYTES: Final = 120 * 1024
# What a sender of DATA may have under way before the receiver grants more; OPEN and CLOSE do not count.
INITIAL_CREDIT_BYTES: Final = 256 * 1024
# Pieces that are kept where there is no credit yet, however small: at 64 bytes each they use it up
MAX_KEPT_FRAMES: Final = 4096
# The receiver grants again once it has consumed this much: a quarter, so that a steady reader never stalls the sender.
GRANT_BYTES: Final = INITIAL_CREDIT_BYTES // 4
# A gRPC message on a stream: a batch and the frames' own bytes, with room for headers.
MAX_MESSAGE_BYTES: Final = 1024 * 1024
# What may wait to be written on one stream: a hundred answers of a full frame, some seconds of a reader that is slow
MAX_OUTBOX_BYTES: Final = 16 * 1024 * 1024
# Headers, ids and chain of one OPEN
MAX_OPEN_BYTES: Final = 16 * 1024
# Streams that a call may pass before it counts as a loop
MAX_HOPS: Final = 16
# Each end pings at this pace. Four silent paces end the stream: four to five after the last word, so a silent partition
# is seen within 3 s.
PING_INTERVAL_S: Final = 0.58
SILENT_PINGS: Final = 4
# Unary payloads of an Agent that does not say
DEFAULT_MAX_PAYLOAD_BYTES: Final = 4 * 1024 * 1024
PROTOCOL: Final = 1
# Of fields that are uint32: the number of a call, milliseconds, microseconds
MAX_UINT32: Final = 2**32 - 1

# HTTP/2 of every long stream. Flow-control windows above a batch keep one batch from waiting for a window update.
CHANNEL_OPTIONS: Final[list[tuple[str, int]]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5000),
]
# Towards an operator, which sends next to nothing: only HTTP/2 pings can show that it was cut off silently
REGISTRY_CHANNEL_OPTIONS: Final[list[tuple[str, int]]] = [
    *CHANNEL_OPTIONS,
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
]
SERVER_OPTIONS: Final[list[tuple[str, int]]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.server_handshake_timeout_ms", 5000),
    ("grpc.max_concurrent_streams", 1000),
    ("grpc.so_reuseport", 0),
]
