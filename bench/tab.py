"""The page without a browser: sends the events of one tab over HTTP, as Gradio's own script does."""

import json
import secrets
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx


class Rejected(Exception):
    """The error message that the page would show."""


class Tab:
    """An open tab. `close` makes the server free its resources."""

    def __init__(self, address: str, budget: int, timeout: float, source: str = "127.0.0.1") -> None:
        """`source` is the IP address from which the tab connects."""
        transport = httpx.HTTPTransport(local_address=source)
        self._http = httpx.Client(base_url=address, timeout=timeout, transport=transport)
        self._budget = budget
        self._session = secrets.token_hex(8)
        events = self._http.get("/config").raise_for_status().json()["dependencies"]
        self._numbers = {event["api_name"]: event["id"] for event in events}
        # The server considers the tab open while this response is streaming.
        heartbeat = self._http.build_request("GET", f"/gradio_api/heartbeat/{self._session}")
        self._alive = self._http.send(heartbeat, stream=True)

    def upload(self, clip: Path) -> dict[str, Any]:
        """Upload a clip and return the file as events refer to it."""
        with clip.open("rb") as file:
            path = self._http.post("/gradio_api/upload", files={"files": file}).raise_for_status().json()[0]
        return {"path": path, "meta": {"_type": "gradio.FileData"}}

    def select(self, file: dict[str, Any]) -> None:
        self._call("select", *self._fields(file), self._now())

    def ask(self, question: str, file: dict[str, Any]) -> dict[str, Any]:
        """Ask a question and return the answer's transcript entry."""
        transcript, _field = self._call("ask", question, *self._fields(file), 0, 1, 256, self._now())
        entry: dict[str, Any] = transcript["entries"][-1]
        return entry

    def preview(self, file: dict[str, Any]) -> None:
        """Wait for the preview of a file that browsers cannot play."""
        self._call("preview", file, None, self._now(), data={"ask": 1})

    def attribute(self) -> None:
        """Attribute the last answer to frames, as the page does after each answer."""
        self._call("attribute", True)

    def clear(self) -> None:
        self._call("clear", self._now())

    def ask_and_close(self, question: str, file: dict[str, Any]) -> None:
        """Ask a question, and close the tab while the answer is being generated."""
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
        """The time in ms, as the page's script would send it."""
        return 1000 * time.monotonic()

    def _fields(self, file: dict[str, Any]) -> tuple[Any, ...]:
        """Video, image, budget, start, end, decoder, numbers."""
        return file, None, self._budget, "", "", "pyav", False

    def _call(self, name: str, *values: Any, data: dict[str, Any] | None = None) -> list[Any]:
        """Trigger an event with `data` and return its final outputs."""
        for message in self._messages(name, *values, data=data):
            if message["msg"] == "process_completed":
                if not message["success"]:
                    raise Rejected(message["output"]["error"])
                outputs: list[Any] = message["output"]["data"]
                return outputs
        raise Rejected(f"the event {name} did not complete")

    def _messages(self, name: str, *values: Any, data: dict[str, Any] | None = None) -> Generator[dict[str, Any]]:
        event = {"fn_index": self._numbers[name], "session_hash": self._session, "data": values, "event_data": data}
        self._http.post("/gradio_api/queue/join", json=event).raise_for_status()
        query = {"session_hash": self._session}
        with self._http.stream("GET", "/gradio_api/queue/data", params=query) as response:
            for line in response.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))
