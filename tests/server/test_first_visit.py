"""The page is compressed, and assets that cost without a use are replaced."""

from pathlib import Path

import gradio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from longva_demo.server.first_visit import compress_page, replace_module, replaced_assets, slow_down_timer

TEXT = "<p>page</p>" * 200


def test_only_the_page_is_compressed() -> None:
    routes = [Route(path, lambda _: HTMLResponse(TEXT)) for path in ("/", "/other")]
    client = TestClient(Starlette(routes=routes, middleware=[compress_page()]))
    assert client.get("/").headers["content-encoding"] == "gzip"
    assert client.get("/").text == TEXT
    assert "content-encoding" not in client.get("/other").headers
    assert "content-encoding" not in client.get("/", headers={"Accept-Encoding": "identity"}).headers
    below = TestClient(Starlette(routes=routes, middleware=[compress_page()]), root_path="/demo")
    assert below.get("/demo/").headers["content-encoding"] == "gzip"


def test_a_module_is_replaced_by_functions_of_the_same_names(tmp_path: Path) -> None:
    module = tmp_path / "hls-abc.js"
    module.write_text("function a(){}function b(){}export{a as n,b as t};\n")
    route = replace_module(module)
    assert route is not None
    assert route.path == "/assets/hls-abc.js"
    reply = TestClient(Starlette(routes=[route])).get(route.path)
    assert reply.headers["content-type"].startswith("text/javascript")
    assert reply.text == "const no = () => false; export { no as n, no as t };"


@pytest.mark.parametrize("text", ["", "export default a;", "export{a as n};let b", "export{a};"])
def test_a_module_that_is_built_otherwise_stays(tmp_path: Path, text: str) -> None:
    module = tmp_path / "hls-abc.js"
    module.write_text(text)
    assert replace_module(module) is None


def test_a_timer_gets_ten_ticks_a_second(tmp_path: Path) -> None:
    module = tmp_path / "statustracker-abc.js"
    module.write_text("function a(){b(()=>{c(d,(performance.now()-e(f))/1e3),g&&a()})}let h=i(()=>{j()})")
    route = slow_down_timer(module)
    assert route is not None
    assert route.path == "/assets/statustracker-abc.js"
    expected = "function a(){setTimeout(()=>{c(d,(performance.now()-e(f))/1e3),g&&a()},100)}let h=i(()=>{j()})"
    assert TestClient(Starlette(routes=[route])).get(route.path).text == expected
    module.write_text("function a(){b(()=>{c(d,(performance.now()-e(f))/1e3),g&&h()})}")
    assert slow_down_timer(module) is None


def test_the_server_replaces_the_files_of_this_gradio(address: str) -> None:
    hls, tracker, *ffmpeg = replaced_assets()
    for route in (hls, *ffmpeg):
        assert len(httpx.get(f"{address}{route.path}").content) < 200
    assert "setTimeout(()=>{" in httpx.get(f"{address}{tracker.path}").text
    frontend = Path(gradio.__file__).parent / "templates" / "frontend"
    assert all((frontend / route.path[1:]).is_file() for route in ffmpeg)
    page = httpx.get(address)
    assert page.headers["content-encoding"] == "gzip"
