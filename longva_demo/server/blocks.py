"""Gradio's Blocks, with the checks before an event reaches its handler."""

import time
from contextlib import suppress
from typing import Any

import gradio as gr

from longva_demo.errors import DemoError
from longva_demo.page.errors import toast
from longva_demo.server.addresses import refuse_addresses
from longva_demo.server.rate_limit import CALLER, RateLimit, address_name
from longva_demo.server.validation import NOT_UPLOADED, check_event, check_inputs


class DemoBlocks(gr.Blocks):
    """Blocks with default options for `launch`. They fetch no URLs, except from `hosts`.

    `rate` counts all events, since sending one is cheap and answering it may be expensive.
    """

    def __init__(self, options: dict[str, Any], hosts: set[str], rate: RateLimit, **kwargs: Any) -> None:
        self.options = options
        self.hosts = hosts
        self.rate = rate
        super().__init__(**kwargs)

    async def process_api(self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        names = names_of(kwargs.get("request"))
        block = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        try:
            # A streaming handler is called again for each update. "unload" is never refused.
            if kwargs.get("iterator") is None and all(event != "unload" for _, event in block.targets):
                self.rate.count(*names)
            refuse_addresses(inputs, self.hosts)
            event = kwargs.get("event_data")
            data = event._data if event is not None else None
            check_inputs(block.inputs, inputs, data)
            check_event(str(block.name), data)
        except DemoError as error:
            raise toast(error) from None
        CALLER.set(names)
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

    def block_thread(self) -> None:
        """Wait for an interrupt, then close. Gradio's own method would wait for open pages, and not delete uploads."""
        with suppress(KeyboardInterrupt):
            while self.is_running:
                time.sleep(0.1)
        self.close(verbose=False)

    def launch(self, **kwargs: Any) -> Any:  # type: ignore[override]
        return super().launch(**{**self.options, **kwargs})


def names_of(request: Any) -> tuple[str, ...]:
    """A page and its IP address, as names for the rate limits."""
    if not isinstance(request, gr.Request) or request.request is None:
        return ()
    return (f"page {request.session_hash}", address_name(request.request.scope))
