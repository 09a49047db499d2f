"""The engine that the settings name."""

from longva_demo.chat.engine import Capability, Engine
from longva_demo.chat.local_engine import LocalEngine
from longva_demo.chat.remote import RemoteEngine
from longva_demo.errors import DemoError
from longva_demo.settings import Settings

NAMES = {Capability.NEEDLE_TEST: "the needle test", Capability.WINDOWS: "a search"}


def open_engine(settings: Settings, keep_features: bool = False) -> Engine:
    """Load the model that the settings name, or connect to the engine that they name; which one is logged.

    `keep_features`: see `LocalEngine`.

    Raises:
        DemoError: the model cannot be loaded, or the engine does not answer or cannot be used.
    """
    if settings.engine:
        return RemoteEngine.connect(settings)
    return LocalEngine.from_settings(settings, keep_features)


def in_process(engine: Engine, capability: Capability) -> LocalEngine:
    """The engine for a capability that works on the KV cache itself.

    Raises:
        DemoError: the model is not in this process.
    """
    if capability not in engine.capabilities:
        what = f"{NAMES[capability]} needs the model in this process"
        raise DemoError(what, "leave out --engine and LONGVA_ENGINE")
    assert isinstance(engine, LocalEngine)
    return engine
