"""Files must be uploaded. A URL in place of a file is refused, unless the settings allow its host."""

from typing import Any
from urllib.parse import urlsplit

from longva_demo.errors import DemoError


def refuse_addresses(value: Any, hosts: set[str]) -> None:
    """Check the inputs of an event, as they came over HTTP.

    Raises:
        DemoError: the path of a file is a URL whose host is not one of `hosts`. Gradio would fetch it.
    """
    if isinstance(value, dict):
        if is_address(value.get("path")) and (urlsplit(value["path"].strip()).hostname or "") not in hosts:
            raise DemoError("the server does not fetch files from this URL", "upload the file itself")
        for part in value.values():
            refuse_addresses(part, hosts)
    elif isinstance(value, list | tuple):
        for part in value:
            refuse_addresses(part, hosts)


def is_address(path: Any) -> bool:
    return isinstance(path, str) and path.lower().lstrip().startswith(("http:", "https:"))
