"""The page and the API below a path of a proxy, which removes that path before it forwards a request."""

import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from gradio_client import Client, handle_file
from playwright.sync_api import BrowserContext, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.support.browser import Visit
from tests.support.server import free_port, serving

PATH = "/video/longva"
# They describe one connection.
HOP_HEADERS = {"transfer-encoding", "connection"}


def proxy_of(server: str) -> Starlette:
    client = httpx.AsyncClient(base_url=server, timeout=None)

    async def forward(request: Request) -> Response:
        url = httpx.URL(path=f"/{request.path_params['rest']}", query=request.url.query.encode())
        sent = client.build_request(request.method, url, headers=request.headers.raw, content=await request.body())
        reply = await client.send(sent, stream=True)

        async def body() -> AsyncIterator[bytes]:
            async for part in reply.aiter_raw():
                yield part
            await reply.aclose()

        kept = {name: value for name, value in reply.headers.items() if name not in HOP_HEADERS}
        return StreamingResponse(body(), reply.status_code, kept)

    return Starlette(routes=[Route(PATH + "/{rest:path}", forward, methods=["GET", "POST", "HEAD"])])


@pytest.fixture(scope="module")
def behind_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("root") / "server.log"
    with serving(log, "--model", "tiny", "--root-path", PATH) as address:
        port = free_port()
        proxy = uvicorn.Server(
            uvicorn.Config(proxy_of(address), port=port, log_level="warning", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=proxy.run)
        thread.start()
        while not proxy.started:
            assert thread.is_alive()
        yield f"http://127.0.0.1:{port}{PATH}"
        proxy.should_exit = True
        thread.join()


def test_the_page_works_below_a_path(desktop: BrowserContext, behind_proxy: str, tmp_path: Path) -> None:
    visit = Visit(desktop, f"{behind_proxy}/")
    visit.page.hover('.card:has-text("A rolling circle")')
    expect(visit.page.locator(".moving")).to_be_visible()  # its preview
    visit.pick("A rolling circle")
    visit.page.wait_for_function("document.querySelector('#player video')?.readyState >= 1")
    assert visit.ask("What shape is it?")
    expect(visit.page.locator(".attribution-head")).to_be_visible()
    with visit.page.expect_download() as download:
        visit.page.click('.film-foot [data-file="plan.json"]')
    download.value.save_as(tmp_path / "plan.json")
    assert '"frames"' in (tmp_path / "plan.json").read_text()
    assert [url for url in visit.requests if not url.startswith((behind_proxy, "data:", "blob:"))] == []
    assert visit.complaints == []
    visit.open("about:blank")
    visit.page.close()


def test_the_api_works_below_a_path(behind_proxy: str, clip: Path) -> None:
    client = Client(f"{behind_proxy}/", verbose=False)
    assert client.predict(question="What shape is it?", video=handle_file(clip), api_name="/chat")
