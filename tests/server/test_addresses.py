"""A URL in place of a file is refused anywhere in an event's inputs, unless its host is allowed."""

from typing import Any

import pytest

from longva_demo.errors import DemoError
from longva_demo.server.addresses import refuse_addresses


@pytest.mark.parametrize(
    "inputs",
    [
        [{"path": "http://127.0.0.1/a.mp4"}],
        ["question", {"video": {"path": " https://example.org/a.mp4"}}],
        [[{"path": "HTTPS://example.org:8443/a.mp4"}]],
        [{"path": "http:example.org/a.mp4"}],
        [{"path": "http://allowed.org@example.org/a.mp4"}],
    ],
)
def test_urls_are_refused(inputs: list[Any]) -> None:
    with pytest.raises(DemoError, match="upload the file itself"):
        refuse_addresses(inputs, {"allowed.org"})


def test_uploads_and_allowed_hosts_pass() -> None:
    upload = {
        "path": "/tmp/gradio/0a/http clip.mp4",
        "url": "http://127.0.0.1:7860/gradio_api/file=/tmp/gradio/0a/clip.mp4",
    }
    refuse_addresses([upload, None, 3, "http://a question about an address"], set())
    refuse_addresses([{"path": "https://allowed.org/clip.mp4"}], {"allowed.org"})
