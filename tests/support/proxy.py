"""A proxy that slows uploads down and breaks them off."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CHUNK = 16_384


class SlowProxy:
    """Forwards connections to a port of this machine. `rate` limits uploads, in bytes a second; 0 holds them."""

    def __init__(self, port: int) -> None:
        self.rate = 10**9
        self._port = port
        self._uploads: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        # Little of an upload is under way: browsers count what the system has accepted as sent.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CHUNK)
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def break_uploads(self) -> None:
        """End the connections of the running uploads.

        They are reset: a browser whose data finds no room would wait minutes for the end of one that is only closed.
        """
        for connection in self._uploads:
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.shutdown(socket.SHUT_RD)  # `_send` then closes it
        self._uploads.clear()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                threading.Thread(target=self._send, args=(client, server), daemon=True).start()
                threading.Thread(target=self._receive, args=(server, client), daemon=True).start()

    def _send(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError), client, server:
            while data := client.recv(CHUNK):
                if b"/gradio_api/upload?" in data:
                    self._uploads.append(client)
                if client in self._uploads:
                    while not self.rate:
                        time.sleep(0.01)
                    time.sleep(len(data) / self.rate)
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _receive(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError), client, server:
            while data := server.recv(CHUNK):
                if client in self._uploads:
                    self._uploads.remove(client)  # the reply to the upload: the connection serves others now
                client.sendall(data)


@contextmanager
def slow_proxy(address: str) -> Iterator[SlowProxy]:
    """A proxy to the server at `address`."""
    proxy = SlowProxy(int(address.rpartition(":")[2]))
    try:
        yield proxy
    finally:
        proxy.close()
