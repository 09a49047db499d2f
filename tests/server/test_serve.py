"""An address where the server cannot listen is one line, before a model is loaded."""

import socket

import pytest

from longva_demo.chat import LocalEngine
from longva_demo.cli.main import main


@pytest.fixture(autouse=True)
def without_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalEngine, "from_settings", lambda *_: pytest.fail("the model was loaded"))


def error_of(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    assert main(["serve", *flags]) == 2
    [line] = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_in_use(capsys: pytest.CaptureFixture[str], family: socket.AddressFamily, host: str) -> None:
    with socket.create_server((host, 0), family=family) as other:
        port = str(other.getsockname()[1])
        line = error_of(capsys, "--host", host, "--port", port)
    assert line == f"longva-demo: port {port} of {host} is in use; stop that server, or choose another --port"


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])  # unknown, and an address of another machine
def test_a_host_that_cannot_be_bound(capsys: pytest.CaptureFixture[str], host: str) -> None:
    line = error_of(capsys, "--host", host, "--port", "7999")
    assert line.startswith(f"longva-demo: cannot listen on port 7999 of {host} (")
    assert line.endswith("; choose another --host or --port")


def test_a_host_that_is_not_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert "is not a valid host" in error_of(capsys, "--host", "x" * 70 + ".invalid")


def test_a_port_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert "70000" in error_of(capsys, "--port", "70000")
