"""Record what this Python process opens. Python imports this file at its start, if its folder is on PYTHONPATH.

Each event becomes a line of JSON, [event, argument], in a file of the folder AUDIT_RECORD. Each process has its own,
since a decoder cannot write to a large one. C libraries are not seen.
"""

import json
import os
import sys

FILES = ("open", "os.listdir", "os.scandir")
PROGRAMS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system")
CONNECTIONS = ("socket.connect", "socket.sendto", "socket.sendmsg")
NAMES = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")


def install(folder: str) -> None:
    record = -1

    def open_record() -> None:
        nonlocal record
        record = os.open(f"{folder}/{os.getpid()}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in FILES or event in NAMES:
            seen = arguments[0]
        elif event in CONNECTIONS:
            seen = arguments[1]
        elif event in PROGRAMS:
            seen = arguments[:2]
        else:
            return
        is_open = isinstance(seen, int)
        if not is_open and not str(seen).startswith(folder):
            os.write(record, json.dumps([event, seen], default=str).encode() + b"\n")

    open_record()
    os.register_at_fork(after_in_child=open_record)
    sys.addaudithook(hook)


install(os.environ["AUDIT_RECORD"])
