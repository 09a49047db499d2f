"""A network namespace in which every address is this machine, and a record of what is sent in it. Linux only."""

import contextlib
import ctypes
import fcntl
import ipaddress
import os
import socket
import struct
import threading
from pathlib import Path

# The address of the test's own client, and the one to which it sends a packet to learn that all earlier ones were seen.
CLIENT, MARK = "127.0.0.2", ("127.0.0.3", 9)
PORTS = (21, 80, 443, 554, 1935, 8080, 45_678)  # of the neighbours: FTP, HTTP, RTSP, RTMP and others
# To which every name resolves; public ones, since a client may refuse private ones.
PUBLIC_IPV4, PUBLIC_IPV6 = "93.184.216.34", "2606:2800:21f:cb07::1"
SECRET = "what-the-neighbours-say"
UP = 1  # IFF_UP
PACKET_STATISTICS, PACKET_OUTGOING = 6, 4
PROTOCOLS = {6: "tcp", 17: "udp"}
IN_OPEN = 0x20


def claim_all_addresses() -> None:
    """Make all IPv4 and IPv6 addresses this machine's, as `ip route add local 0.0.0.0/0 dev lo` does."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", UP))  # SIOCSIFFLAGS
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        for family in (socket.AF_INET, socket.AF_INET6):
            # struct rtmsg: table local, protocol boot, scope host, type local. One attribute: the device.
            route = struct.pack("=8BI", family, 0, 0, 0, 255, 3, 254, 2, 0)
            route += struct.pack("=HHI", 8, 4, socket.if_nametoindex("lo"))  # RTA_OIF
            head = struct.pack("=IHHII", 16 + len(route), 24, 0x405, 1, 0)  # RTM_NEWROUTE: create, acknowledge
            netlink.send(head + route)
            (error,) = struct.unpack_from("=i", netlink.recv(4096), 16)
            assert error == 0, os.strerror(-error)


class Neighbours:
    """Servers at all addresses: TCP at PORTS, and DNS, whose answer to every name is a public address."""

    def __init__(self) -> None:
        for port in PORTS:
            listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
            threading.Thread(target=self._serve, args=[listener], daemon=True).start()
        names = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        names.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        names.bind(("::", 53))
        threading.Thread(target=self._resolve, args=[names], daemon=True).start()

    def _serve(self, listener: socket.socket) -> None:
        reply = f"HTTP/1.1 200 OK\r\nContent-Length: {len(SECRET)}\r\nConnection: close\r\n\r\n{SECRET}".encode()
        while True:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(1)
                connection.recv(4096)
                connection.sendall(reply)

    def _resolve(self, names: socket.socket) -> None:
        while True:
            query, sender = names.recvfrom(512)
            end = query.index(b"\0", 12) + 5  # of the question: a name, its type and its class
            kind = query[end - 4 : end - 2]
            address = {b"\0\1": PUBLIC_IPV4, b"\0\x1c": PUBLIC_IPV6}.get(kind)
            packed = ipaddress.ip_address(address).packed if address else b""
            counts = struct.pack(">HHHHH", 0x8180, 1, int(bool(address)), 0, 0)
            answer = b"\xc0\x0c" + kind + struct.pack(">HIH", 1, 60, len(packed)) + packed if address else b""
            names.sendto(query[:2] + counts + query[12:end] + answer, sender)


class Packets:
    """UDP packets and new TCP connections, except those of the test's own client: as "tcp 10.0.0.7 80"."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))  # ETH_P_ALL
        with contextlib.suppress(PermissionError):  # in a user namespace
            self._socket.setsockopt(socket.SOL_SOCKET, 33, 2**26)  # SO_RCVBUFFORCE
        self._seen: set[str] = set()
        self._marks = threading.Semaphore(0)
        threading.Thread(target=self._read, daemon=True).start()

    def seen(self) -> set[str]:
        """The destinations since the last call."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", MARK)
        assert self._marks.acquire(timeout=30)
        _, lost = struct.unpack("II", self._socket.getsockopt(263, PACKET_STATISTICS, 8))  # SOL_PACKET
        assert lost == 0
        seen, self._seen = self._seen, set()
        return seen

    def _read(self) -> None:
        while True:
            packet, (_, _, direction, *_) = self._socket.recvfrom(128)
            if direction == PACKET_OUTGOING:
                self._note(packet)

    def _note(self, packet: bytes) -> None:
        is_v6 = packet[0] >> 4 == 6
        protocol, size, start = (packet[6], 16, 8) if is_v6 else (packet[9], 4, 12)
        source, target = (str(ipaddress.ip_address(packet[at : at + size])) for at in (start, start + size))
        ports = 40 if is_v6 else 4 * (packet[0] & 15)
        port, flags = struct.unpack_from(">2xH9xB", packet.ljust(ports + 14), ports)
        is_reply = protocol == 6 and flags & 0x12 != 2  # not a SYN
        if (target, port) == MARK:
            self._marks.release()
        elif CLIENT not in (source, target) and protocol in PROTOCOLS and not is_reply:
            self._seen.add(f"{PROTOCOLS[protocol]} {target} {port}")


class Watch:
    """Notices who opens a file of a folder, in Python or in a C library."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._queue = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self._queue, os.fsencode(folder), IN_OPEN) > 0, os.strerror(ctypes.get_errno())

    def was_opened(self) -> bool:
        """Whether a file was opened since the last call."""
        with contextlib.suppress(BlockingIOError):
            return bool(os.read(self._queue, 2**16))
        return False
