"""The tests use no network: looking up a name fails at once."""

import socket

import httpx
import pytest


@pytest.mark.parametrize("host", ["huggingface.co", "10.0.0.7.example"])
def test_no_name_is_looked_up(host: str) -> None:
    with pytest.raises(AssertionError, match=f"a test looks up {host}"):
        socket.create_connection((host, 443))
    with pytest.raises(AssertionError, match=f"a test looks up {host}"):
        httpx.get(f"https://{host}")
