import pytest

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
