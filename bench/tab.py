"""The page without its browser: the events of one tab in one session, over HTTP as Gradio's own script sends them."""

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx


class Refused(Exception):
    """The line that the page would show."""


class Tab:
    """Open until `close`; the server then frees what belongs to it."""

    def __init__(self, address: str, budget: int, timeout: float) -> None:
        self._http = httpx.Client(base_url=address, timeout=timeout)
        self._budget = budget
        self._session = secrets.token_hex(8)
        events = self._http.get("/config").raise_for_status().json()["dependencies"]
        self._numbers = {event["api_name"]: event["id"] for event in events}
        # While this answer goes on, the server takes the tab for open.
        heartbeat = self._http.build_request("GET", f"/gradio_api/heartbeat/{self._session}")
        self._alive = self._http.send(heartbeat, stream=True)

    def upload(self, clip: Path) -> dict[str, Any]:
        """The file as events name it."""
        with clip.open("rb") as file:
            path = self._http.post("/gradio_api/upload", files={"files": file}).raise_for_status().json()[0]
        return {"path": path, "meta": {"_type": "gradio.FileData"}}

    def look(self, file: dict[str, Any]) -> None:
        self._call("look", *self._fields(file), self._now())

    def ask(self, question: str, file: dict[str, Any]) -> dict[str, Any]:
        """The transcript's entry of the answer."""
        transcript, _field = self._call("ask", question, *self._fields(file), 0, 1, 256, self._now())
        entry: dict[str, Any] = transcript["entries"][-1]
        return entry

    def weigh(self) -> None:
        """As the page does after each answer: look for the frames that it drew on."""
        self._call("weigh", True)

    def forget(self) -> None:
        self._call("clear", self._now())

    def ask_and_close(self, question: str, file: dict[str, Any]) -> None:
        """Close the tab while the answer is on its way."""
        with closing(self._messages("ask", question, *self._fields(file), 0, 1, 256, self._now())) as messages:
            next(message for message in messages if message["msg"] == "process_generating")
        self.close()

    def close(self) -> None:
        if self._http.is_closed:
            return
        self._http.post(f"/longva/leave/{self._session}").raise_for_status()
        self._alive.close()
        self._http.close()

    def _now(self) -> float:
        """The time on the page's own clock, in ms."""
        return 1000 * time.monotonic()

    def _fields(self, file: dict[str, Any]) -> tuple[Any, ...]:
        """Video, picture, budget, from, to, decoder."""
        return file, None, self._budget, "", "", "pyav"

    def _call(self, name: str, *values: Any) -> list[Any]:
        """The event's last outputs."""
        for message in self._messages(name, *values):
            if message["msg"] == "process_completed":
                if not message["success"]:
                    raise Refused(message["output"]["error"])
                outputs: list[Any] = message["output"]["data"]
                return outputs
        raise Refused(f"{name} came to no end")

    def _messages(self, name: str, *values: Any) -> Iterator[dict[str, Any]]:
        event = {"fn_index": self._numbers[name], "session_hash": self._session, "data": values}
        self._http.post("/gradio_api/queue/join", json=event).raise_for_status()
        where = {"session_hash": self._session}
        with self._http.stream("GET", "/gradio_api/queue/data", params=where) as reply:
            for line in reply.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))
