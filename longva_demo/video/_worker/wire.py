"""Messages between the worker and its parent: a JSON header, then raw bytes (arrays). No pickle."""

import json
import struct
from typing import Any, BinaryIO

import numpy as np

HEADER = struct.Struct("<IQ")  # length of the JSON text, length of the payload
NUMBER = struct.Struct("<i")  # a process id or an exit code
MAX_JSON_BYTES = 64 * 1024 * 1024
MAX_PAYLOAD_BYTES = 1024 * 1024 * 1024

Message = dict[str, Any]


def encode(message: Message, payload: bytes = b"") -> bytes:
    text = json.dumps(message).encode()
    return HEADER.pack(len(text), len(payload)) + text + payload


def decode(data: bytearray) -> tuple[Message, bytes] | None:
    """Remove one complete message from the front of `data`; None if there is none yet.

    Raises:
        ValueError: the bytes are not a valid message.
    """
    if len(data) < HEADER.size:
        return None
    text_bytes, payload_bytes = HEADER.unpack_from(data)
    if text_bytes > MAX_JSON_BYTES or payload_bytes > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a message of {text_bytes} + {payload_bytes} bytes")
    total = HEADER.size + text_bytes + payload_bytes
    if len(data) < total:
        return None
    message = json.loads(data[HEADER.size : HEADER.size + text_bytes])
    with memoryview(data) as view:
        payload = bytes(view[HEADER.size + text_bytes : total])
    del data[:total]
    return message, payload


def read_request(stream: BinaryIO) -> tuple[Message, bytes]:
    decoded = decode(bytearray(stream.read()))
    assert decoded is not None, "the request is incomplete"
    return decoded


def pack_arrays(arrays: dict[str, np.ndarray]) -> tuple[list[list[Any]], bytes]:
    """Serialise one-dimensional arrays. Returns ([name, dtype, length] for each, the bytes)."""
    layout = [[name, array.dtype.str, len(array)] for name, array in arrays.items()]
    return layout, b"".join(np.ascontiguousarray(array).data for array in arrays.values())


def unpack_arrays(layout: list[list[Any]], payload: bytes) -> dict[str, np.ndarray]:
    arrays, offset = {}, 0
    for name, dtype, length in layout:
        array = np.frombuffer(payload, dtype=dtype, count=length, offset=offset)
        arrays[name] = array
        offset += array.nbytes
    return arrays
