import pytest

from longva_demo.clock import clock_time, parse_time
from longva_demo.errors import DemoError
from longva_demo.settings import Settings


def test_flags_win_over_the_environment() -> None:
    environment = {"LONGVA_MODEL": "tiny", "LONGVA_PORT": "8000", "HOME": "/"}
    settings = Settings.from_environment(environment, port=9000, host=None)
    assert (settings.model, settings.port, settings.host) == ("tiny", 9000, "127.0.0.1")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"LONGVA_MODLE": "tiny"}, "unknown environment variable LONGVA_MODLE"),
        ({"LONGVA_PORT": "http"}, "LONGVA_PORT is 'http'"),
        ({"LONGVA_QUANT": "8bit"}, "quant is '8bit'"),
        ({"LONGVA_NUM_FRAMES": "0"}, "num_frames is 0"),
    ],
)
def test_a_bad_variable_is_named(environment: dict[str, str], words: str) -> None:
    with pytest.raises(DemoError, match=words):
        Settings.from_environment(environment)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00.0"), (59.96, "1:00.0"), (3723.46, "1:02:03.5"), (600, "10:00.0")]
)
def test_clock_time(seconds: float, text: str) -> None:
    assert clock_time(seconds) == text
    assert parse_time(text) == pytest.approx(seconds, abs=0.051)


@pytest.mark.parametrize("text", ["", "abc", "1:2:3:4", "1::2"])
def test_no_time(text: str) -> None:
    with pytest.raises(DemoError, match="is no time"):
        parse_time(text)
