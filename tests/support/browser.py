"""A browser, and an open page in it."""

import json
import os
import re
import shutil
import urllib.request
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import BrowserContext, BrowserType, ConsoleMessage, Page, Request, Route

# By Playwright's names: the environment variable with the path of a browser, and the commands to look for.
# scripts/install_browser.sh installs missing ones.
VARIABLES = {"chromium": "BROWSER_PATH", "firefox": "FIREFOX_PATH"}
BROWSERS = {
    # The headless shell needs half the CPU time.
    "chromium": ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
    "firefox": ("firefox-esr",),
}
# No first-run page, no component or account services, and one process for all pages, which compiles the scripts once.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--renderer-process-limit=1",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
# How long a test waits for a state of the page, and for what takes several events.
PATIENCE_MS = 60_000
BUSY_MS = 120_000


def find_browser(kind: BrowserType) -> str:
    """Path of the browser: from its environment variable, else from the PATH, else Playwright's own."""
    named = os.environ.get(VARIABLES[kind.name])
    candidates = (named,) if named else (*BROWSERS[kind.name], kind.executable_path)
    path = next(filter(None, map(shutil.which, candidates)), None)
    assert path, (
        f"no {kind.name} for the page tests ({', '.join(candidates)}): "
        f"run `make browser`, or set {VARIABLES[kind.name]} to one"
    )
    return path


# Runs before the page's own scripts. `toasts` collects the text of each toast, which disappears after ten seconds.
# `latency` delays the server's messages about events by so many ms, in order. `started` and `completed` count events.
INSTRUMENTS = """
window.toasts = [];
new MutationObserver((changes) => {
  for (const node of changes.flatMap((change) => [...change.addedNodes]))
    for (const text of node.querySelectorAll?.("[data-testid=toast-text]") ?? []) window.toasts.push(text.textContent);
}).observe(document, { childList: true, subtree: true });
window.latency = window.started = window.completed = 0;
const { fetch } = window;
window.fetch = async (address, options) => {
  if (String(address.url ?? address).includes("/queue/join")) window.started += 1;
  const reply = await fetch(address, options);
  if (!String(address.url ?? address).includes("/queue/data")) return reply;
  const reader = reply.body.getReader(), decoder = new TextDecoder();
  let said = "";
  const late = new ReadableStream({ async start(stream) {
    for (let turn = Promise.resolve(); ; ) {
      const { done, value } = await reader.read(), due = performance.now() + window.latency;
      turn = turn.then(() => new Promise((go) => setTimeout(go, due - performance.now())))
        .then(() => {
          if (done) { stream.close(); return; }
          said += decoder.decode(value, { stream: true });
          const told = said.split('"process_completed"');
          window.completed += told.length - 1;
          said = told.at(-1);
          stream.enqueue(value);
        }).catch(() => {});  // the page has gone on without it
      if (done) return;
    }
  } });
  return new Response(late, { status: reply.status, headers: reply.headers });
};
"""


class Held:
    """Requests that are held back on their way to the server until they are released."""

    def __init__(self, page: Page, address: str | re.Pattern[str], wanted: Callable[[Request], bool]) -> None:
        self._page = page
        self._wanted = wanted
        self._is_open = False
        self._routes: list[Route] = []
        page.route(address, self._hold)

    def _hold(self, route: Route) -> None:
        if self._is_open or not self._wanted(route.request):
            route.fallback()
        else:
            self._routes.append(route)

    def wait(self) -> None:
        """Wait until a request is held."""
        while not self._routes:
            self._page.wait_for_timeout(20)

    def release(self) -> None:
        """Let these requests and all later ones pass."""
        self._is_open = True
        for route in self._routes:
            route.fallback()


class Visit:
    """An open page, with its errors: console errors, exceptions, requests to other hosts."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.page: Page = context.new_page()
        self.page.add_init_script(INSTRUMENTS)
        self.address = address
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        self.page.on("request", self._on_request)
        self.page.goto(address)
        self.page.wait_for_selector(".chat-empty")
        self.page.wait_for_selector(".film")
        self.page.wait_for_selector("#player .upload-container")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"console: {message.text} ({message.location.get('url')})")

    def _on_request(self, request: Request) -> None:
        self.requests.append(request.url)
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.complaints.append(f"external request: {request.url}")

    def reload(self) -> None:
        self._leave(self.page.reload)

    def open(self, address: str) -> None:
        """Leave the page for another one."""
        self._leave(lambda: self.page.goto(address))

    def _leave(self, action: Callable[[], object]) -> None:
        """When a page is left, Gradio's open stream ends, which it writes to the console of the page that ends."""
        before = len(self.complaints)
        action()
        of_the_end = ("AbortError: signal is aborted", "Connection errored out.")
        self.complaints[before:] = [
            one for one in self.complaints[before:] if not any(end in one for end in of_the_end)
        ]

    def pick(self, title: str) -> None:
        """Click an example's card and wait for its frames."""
        self.page.click(f'.card:has-text("{title}")')
        self.wait_for_frames()

    def upload(self, path: Path) -> None:
        """Upload a file into the video field, replacing the current one."""
        if self.page.locator("#player video").count():
            self.page.click("#player button[aria-label=Clear]")
        self.page.set_input_files("#player input[type=file]", str(path))

    def wait_for_frames(self, count: int | None = None) -> None:
        several = f'[data-count="{count}"]' if count is not None else ':not([data-count="0"])'
        self.page.wait_for_selector(f'.film[data-state="done"]{several}')

    def wait_for_toasts(self, text: str, count: int = 1) -> None:
        """Wait until so many toasts with this text have appeared, visible or not."""
        told = "([text, count]) => window.toasts.filter((one) => one.includes(text)).length >= count"
        self.page.wait_for_function(told, arg=[text, count], timeout=BUSY_MS)

    def wait_for_completed(self, count: int) -> None:
        """Wait until so many events have finished since the page was opened."""
        self.page.wait_for_function("(count) => window.completed >= count", arg=count, timeout=BUSY_MS)

    def wait_for_events_after(self, action: Callable[[], None]) -> None:
        """Start an event on an idle page, and wait until it and all that follow it are finished."""
        is_idle = "(count) => window.started > count && window.completed >= window.started"
        self.page.wait_for_function(is_idle, arg=0)
        started = self.page.evaluate("window.started")
        action()
        self.page.wait_for_function(is_idle, arg=started)

    def hold_event(self, name: str) -> Held:
        """Hold back the requests of a handler's event, such as "select"."""
        with urllib.request.urlopen(f"{self.address}/config") as reply:
            events = json.load(reply)["dependencies"]
        # If several events call a handler, its name gets a number as suffix.
        numbers = [event["id"] for event in events if re.fullmatch(rf"{name}(_\d+)?", event["api_name"] or "")]
        assert numbers, f"no event {name!r}"
        return Held(
            self.page,
            "**/queue/join*",
            lambda request: json.loads(request.post_data or "{}").get("fn_index") in numbers,
        )

    def hold_uploads(self) -> Held:
        return Held(self.page, re.compile(r"/upload\?"), lambda _: True)

    @property
    def frame_seconds(self) -> list[float]:
        found = self.page.eval_on_selector_all(".film button", "all => all.map((one) => one.dataset.seconds)")
        return [float(seconds) for seconds in found]

    def submit(self, question: str) -> None:
        """Type a question and press Enter."""
        self.page.fill("#question textarea", question)
        self.page.press("#question textarea", "Enter")

    def ask(self, question: str) -> str:
        """Type a question, press Enter, wait for the complete answer, and return it."""
        count = self.page.locator(".turn").count()
        self.submit(question)
        return self.wait_for_answer(count + 1)

    def wait_for_answer(self, num_turns: int) -> str:
        self.page.wait_for_function(f"document.querySelectorAll('.turn').length === {num_turns}")
        self.page.wait_for_selector(".turn:last-child .stats:not(:empty)")
        return self.page.inner_text(".turn:last-child .answer")

    def stats(self) -> str:
        return self.page.inner_text(".turn:last-child .stats")

    def seconds_to_first_word(self) -> float:
        found = re.search(r"([\d.]+) s to the first word", self.stats())
        assert found, self.stats()
        return float(found[1])
