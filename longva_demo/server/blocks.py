"""Gradio's Blocks, with the checks before an event reaches its handler."""

import time
from contextlib import suppress
from typing import Any

import gradio as gr

from longva_demo.errors import DemoError
from longva_demo.page.errors import toast
from longva_demo.quotas import CLIENT, client_of
from longva_demo.server.addresses import refuse_addresses
from longva_demo.server.json_log import no_prints
from longva_demo.server.rate_limit import CALLER, caller_names
from longva_demo.server.validation import NOT_UPLOADED, check_event, check_inputs


class DemoBlocks(gr.Blocks):
    """Blocks with default options for `launch`. They fetch no URLs, except from `hosts`."""

    def __init__(self, options: dict[str, Any], hosts: set[str], **kwargs: Any) -> None:
        self.options = options
        self.hosts = hosts
        super().__init__(**kwargs)

    async def process_api(self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        request = kwargs.get("request")
        if isinstance(request, gr.Request) and request.request is not None:
            CALLER.set(caller_names(request.session_hash, request.request.scope))
            CLIENT.set(client_of(request.request.scope))
        block = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        try:
            refuse_addresses(inputs, self.hosts)
            event = kwargs.get("event_data")
            data = event._data if event is not None else None
            check_inputs(block.inputs, inputs, data)
            check_event(str(block.name), data)
        except DemoError as error:
            raise toast(error) from None
        return await super().process_api(block_fn, inputs, *args, **kwargs)

    async def preprocess_data(self, *args: Any, **kwargs: Any) -> Any:
        """After `check_inputs`, only files can be wrong. Gradio's own messages would contain the server's paths."""
        try:
            return await super().preprocess_data(*args, **kwargs)
        except gr.Error:
            raise
        except OSError as error:
            raise toast(DemoError(f"the server cannot store the file ({error.strerror})", "try again later")) from None
        except Exception:
            raise toast(DemoError(*NOT_UPLOADED)) from None

    def get_config_file(self) -> Any:
        """The page holds a connection open, which tells that it is still shown (heartbeats.py)."""
        return {**super().get_config_file(), "connect_heartbeat": True}

    def block_thread(self) -> None:
        """Wait for an interrupt, then close. Gradio's own method would wait for open pages, and not delete uploads."""
        with no_prints(), suppress(KeyboardInterrupt):
            while self.is_running:
                time.sleep(0.1)
        self.close(verbose=False)

    def launch(self, **kwargs: Any) -> Any:  # type: ignore[override]
        return super().launch(**{**self.options, **kwargs})
