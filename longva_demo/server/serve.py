"""Settings → model → engine → page: what `app.py` and `longva-demo serve` do."""

import logging
import os
import signal
import tempfile
from pathlib import Path

# Read by Gradio and the hub's client when they start; nothing leaves this machine except a download that was asked for.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from gradio.utils import get_upload_folder

from longva_demo.chat import Engine
from longva_demo.chat.answering import is_zero_gpu
from longva_demo.folders import check_writable, delete_leftovers, own_folder
from longva_demo.server.app import build_app
from longva_demo.settings import Settings


def serve_page(settings: Settings) -> None:
    """Serve the page until interrupted, by Ctrl-C or by SIGTERM (docker stop, systemd)."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    keep_uploads()
    tell_visitors_apart()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    build_app(Engine.from_settings(settings, keep_features=is_zero_gpu()), settings).launch()


def keep_uploads() -> None:
    """Let Gradio keep uploads in a folder of this process, so that they go with it; delete those of killed ones."""
    place = Path(get_upload_folder())
    check_writable(place, "GRADIO_TEMP_DIR")
    delete_leftovers(place)
    delete_leftovers(Path(tempfile.gettempdir()))
    os.environ["GRADIO_TEMP_DIR"] = str(own_folder(place))


def tell_visitors_apart() -> None:
    """On a Space all come through its proxy, which alone reaches it: uvicorn then goes by whom the proxy names."""
    if os.environ.get("SPACE_ID"):
        os.environ.setdefault("FORWARDED_ALLOW_IPS", "*")
