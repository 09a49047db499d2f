"""What other programs use besides Gradio's API: the OpenAI-compatible API, and MCP."""

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from starlette.routing import BaseRoute

from longva_demo.chat import Engine
from longva_demo.errors import DemoError
from longva_demo.server.conversations import Conversations
from longva_demo.server.openai.files import ReceivedFiles
from longva_demo.server.openai.routes import POSTS, OpenAiApi
from longva_demo.server.requests import MCP
from longva_demo.settings import Settings


@dataclass
class Programs:
    """Their routes, the paths whose bodies carry files, and a lifespan for the app."""

    routes: list[BaseRoute] = field(default_factory=list)
    file_paths: set[str] = field(default_factory=set)
    lifespan: Callable[[Any], AbstractAsyncContextManager[None]] | None = None


def make_programs(
    engine: Engine, settings: Settings, conversations: Conversations, received: ReceivedFiles
) -> Programs:
    """Those that the settings ask for.

    Raises:
        DemoError: MCP is on, and its package is not installed.
    """
    programs = Programs()
    if is_on(settings.openai_api):
        programs.routes += OpenAiApi(engine, settings, conversations, received).routes
        programs.file_paths |= set(POSTS)
    if settings.mcp == "on" and find_spec("mcp") is None:
        raise DemoError("MCP needs the package mcp", "run pip install mcp, or set LONGVA_MCP to auto")
    if is_on(settings.mcp) and find_spec("mcp") is not None:
        from longva_demo.server.mcp.http import mcp_app

        routes, programs.lifespan = mcp_app(conversations, received)
        programs.routes += routes
        programs.file_paths.add(MCP)
    return programs


def is_on(setting: str) -> bool:
    """A Space is open to everybody, so there "auto" is off."""
    return setting == "on" or (setting == "auto" and not os.environ.get("SPACE_ID"))
