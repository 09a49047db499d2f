"""The documentation on the server, where it runs from a copy of the repository."""

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from longva_demo.page.documents import address_of, documents_route

PIXEL = bytes.fromhex("89504e470d0a1a0a")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "study.md").write_text(
        "# Frames & text\n\n<!-- note -->\n| a | b |\n|---|---|\n| 1 | 2 |\n\n![map](map.png)\n"
    )
    (docs / "map.png").write_bytes(PIXEL)
    (docs / "secret.txt").write_text("secret")
    (tmp_path / "outside.md").write_text("secret")
    return docs


def test_a_page_is_shown_with_its_tables_and_pictures(folder: Path) -> None:
    client = TestClient(Starlette(routes=[documents_route(folder)]))
    address = address_of("study.md", folder)
    assert address is not None
    page = client.get(address)
    assert page.headers["content-type"].startswith("text/html")
    assert "<title>Frames &amp; text</title>" in page.text
    assert "<td>2</td>" in page.text
    assert '<img src="map.png"' in page.text
    assert "&lt;!--" not in page.text
    assert client.get(address.replace("study.md", "map.png")).content == PIXEL


@pytest.mark.parametrize(
    "name", ["other.md", "secret.txt", "../outside.md", "%2e%2e%2foutside.md", "..", "", f"{'long' * 100}.md"]
)
def test_there_is_nothing_else(folder: Path, name: str) -> None:
    client = TestClient(Starlette(routes=[documents_route(folder)]))
    reply = client.get(f"/longva/docs/{name}")
    assert reply.status_code == 404
    assert "secret" not in reply.text


def test_an_installed_package_has_no_documents(tmp_path: Path) -> None:
    assert address_of("study.md", tmp_path / "docs") is None
