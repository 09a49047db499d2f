"""Settings → model → engine → page, for `app.py` and `longva-demo serve`."""

import errno
import ipaddress
import logging
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

# Gradio and the Hub's client read these at import. The server contacts nobody, except for a requested download.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# With another backend, Matplotlib, which Gradio imports, starts a program that lists the fonts.
os.environ.setdefault("MPLBACKEND", "agg")

from gradio.utils import get_upload_folder

from longva_demo.chat import open_engine
from longva_demo.chat.zero_gpu import is_zero_gpu, warn_about_torch
from longva_demo.errors import DemoError, short
from longva_demo.folders import check_writable, delete_stale_folders, own_folder
from longva_demo.server.app import build_app, listening_host
from longva_demo.server.connections import raise_file_limit
from longva_demo.server.json_log import json_log
from longva_demo.settings import Settings
from longva_demo.timed_text import SPEECH_MODEL
from longva_demo.timed_text.speech_models import find_model

# Where the proxy of a Space is. Visitors come from other addresses.
PRIVATE_NETWORKS = "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,::1,fc00::/7"


def serve_page(settings: Settings) -> None:
    """Serve the page until Ctrl-C or SIGTERM (docker stop, systemd).

    Raises:
        DemoError: the server cannot listen at this address, or a proxy is not valid. The model is not loaded yet.
    """
    trust_proxies(settings.trusted_proxies)
    check_address(listening_host(settings), settings.port)
    raise_file_limit()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    set_upload_folder()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)  # for people, until it serves
    for name in ("httpx", "mcp"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if is_zero_gpu():
        warn_about_torch()
    if settings.speech_model != SPEECH_MODEL:
        find_model(settings.speech_model, may_download=True)  # no visitor makes the server download it
    app = build_app(open_engine(settings, keep_features=is_zero_gpu()), settings)
    with json_log():
        app.launch()


def check_address(host: str, port: int) -> None:
    """Bind the address for a moment, with the options that the server will use; raises DemoError if that fails."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except UnicodeError:
        raise DemoError(f"{short(host)} is not a valid host", "use a name or an address, such as 127.0.0.1") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise DemoError(f"port {port} of {host} is in use", "stop that server, or choose another --port") from None
        raise DemoError(
            f"cannot listen on port {port} of {host} ({error.strerror})", "choose another --host or --port"
        ) from None


def set_upload_folder() -> None:
    """Let Gradio store uploads in this process's own folder, which is deleted at exit. Delete stale folders."""
    folder = Path(get_upload_folder())
    check_writable(folder, "GRADIO_TEMP_DIR")
    delete_stale_folders(folder)
    delete_stale_folders(Path(tempfile.gettempdir()))
    os.environ["GRADIO_TEMP_DIR"] = str(own_folder(folder))


def trust_proxies(addresses: str) -> None:
    """Trust the X-Forwarded-For of these proxies, and on a Space of its own, the only one that can connect to it.

    The last address in it that is not one of these is the visitor's. `addresses` are separated by commas.

    Raises:
        DemoError: one of them is neither an IP address nor a network.
    """
    for address in filter(None, addresses.split(",")):
        try:
            ipaddress.ip_network(address.strip())
        except ValueError:
            raise DemoError(
                f"{short(address)} is not a valid proxy", "use an IP address, or a network such as 10.0.0.0/8"
            ) from None
    if addresses:
        os.environ["FORWARDED_ALLOW_IPS"] = addresses  # read by uvicorn
    elif os.environ.get("SPACE_ID"):
        os.environ.setdefault("FORWARDED_ALLOW_IPS", PRIVATE_NETWORKS)
