"""What the page says about a model other than the built-in one, and about a visitor's GPU quota."""

import sys
from collections.abc import Iterator

import pytest
from peft import LoraConfig, get_peft_model
from playwright.sync_api import Browser, expect

from longva_demo.model import LongVAForConditionalGeneration
from tests.model.golden import COPY
from tests.support.server import serving

A = COPY / "a" / "checkpoint"
# The server of a Space with a quota, without its GPU: `spaces` itself requires a CUDA build of PyTorch.
SERVER = """
import sys
from longva_demo.chat import zero_gpu
zero_gpu.quota_of = lambda max_new_tokens: zero_gpu.Quota(20.0, 0.125, 120.0)
from longva_demo.cli.main import main
sys.exit(main(["serve", *sys.argv[1:]]))
"""


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a LoRA adapter for checkpoint a, and a quota."""
    folder = tmp_path_factory.mktemp("models")
    model = LongVAForConditionalGeneration.from_pretrained(A)
    get_peft_model(model, LoraConfig(target_modules=["v_proj"])).save_pretrained(str(folder / "my-adapter"))
    program = (sys.executable, "-c", SERVER)
    with serving(folder / "server.log", "--model", str(folder / "my-adapter"), program=program) as address:
        yield address


def test_the_badge_names_the_adapter_and_the_meter_the_quota(browser: Browser, space: str) -> None:
    page = browser.new_page()
    page.goto(space)
    badge, cost = page.locator(".badge"), page.locator("#cost")
    expect(badge).to_contain_text("my-adapter")
    expect(badge).to_contain_text("float32 on cpu, LoRA adapter merged")
    expect(cost).to_contain_text("32 frames")
    expect(cost).to_contain_text("A question takes up to 24 s of your GPU quota.")  # 20 + 32 x 0.125
    badge.click()
    expect(page.locator("#machine")).to_contain_text(f"It is a LoRA adapter for {A}, merged into its weights.")
    page.close()


def test_no_quota_is_named_elsewhere(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    expect(page.locator("#cost")).to_contain_text("32 frames")
    expect(page.locator("#cost")).not_to_contain_text("quota")
    expect(page.locator(".badge")).not_to_contain_text("LoRA")
    page.close()
