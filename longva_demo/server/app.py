"""The app: the page and the API in one Gradio Blocks, with their routes and middleware."""

import os
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from longva_demo.chat import AdmissionQueue, Engine
from longva_demo.chat.answering import MAX_CONCURRENT_QUESTIONS, make_answerer
from longva_demo.page.components.frame_browser import frames_route
from longva_demo.page.components.gallery import EXAMPLES_FOLDER, previews_route, read_examples
from longva_demo.page.components.preview import preview_route
from longva_demo.page.documents import documents_route
from longva_demo.page.downloads import download_routes
from longva_demo.page.i18n import CATALOGUES, I18N
from longva_demo.page.layout import build_page
from longva_demo.page.scripts import head
from longva_demo.page.sessions import Pages
from longva_demo.page.theme import STYLES, LightTable
from longva_demo.quotas import Quotas
from longva_demo.server.api import Api
from longva_demo.server.blocks import DemoBlocks
from longva_demo.server.bodies import limit_bodies
from longva_demo.server.connections import limit_connections
from longva_demo.server.conversations import Conversations
from longva_demo.server.event_queue import use_fair_queue
from longva_demo.server.first_visit import compress_page, replaced_assets
from longva_demo.server.gate import guard
from longva_demo.server.heartbeats import observe_heartbeats
from longva_demo.server.housekeeping import start_housekeeping
from longva_demo.server.openai.bodies import spool_files
from longva_demo.server.openai.errors import json_errors
from longva_demo.server.openai.files import ReceivedFiles
from longva_demo.server.programs import make_programs
from longva_demo.server.rate_limit import RateLimit, limit_answers, limit_rates
from longva_demo.server.requests import limit_requests
from longva_demo.server.reservations import Reservations
from longva_demo.server.searches import Searches
from longva_demo.server.stale_tab import page_constants, refuse_stale_tabs
from longva_demo.server.uploads import Uploads, log_uploads, uploaded_files
from longva_demo.settings import Settings
from longva_demo.telemetry import EventLog, Metrics, observe_answers, telemetry_routes
from longva_demo.video._worker.forks import start_fork_server

# Simultaneous calls of one handler. The engine lets one chat use the model at a time.
CONCURRENCY = 16
# Each running event needs a thread for a moment.
THREADS = 2 * MAX_CONCURRENT_QUESTIONS
# For how many pages, closed ones included, Gradio keeps its last updates (10,000 by default). It rebuilds them on
# demand, since what belongs to a visitor is in `Pages`.
SESSIONS = 200
# Seconds: how often Gradio deletes uploads of which age. Only when the server ends; before, `Uploads` does, which knows
# what is in use.
DELETE_CACHE = (3600, 365 * 24 * 3600)


def build_app(engine: Engine, settings: Settings) -> gr.Blocks:
    """The page and its API. `build_app(engine, settings).launch()` serves it with these settings."""
    # A click on a card selects one of these files, which are read in place.
    gr.set_static_paths([EXAMPLES_FOLDER])
    quotas = Quotas(settings)
    pages = Pages(engine, quotas=quotas)
    queue = AdmissionQueue(engine.prefill_times, lambda: engine.max_prefills)
    metrics = Metrics(lambda: len(pages), lambda: len(queue), engine.figures, quotas)
    events = EventLog(settings, metrics)
    questions = RateLimit(settings.max_questions_per_minute, "questions")
    answerer = observe_answers(limit_answers(make_answerer(engine, queue), questions), engine, metrics, events)
    searches = Searches(engine, queue, questions, events)
    api = Api(engine, settings, answerer, searches.find, events, quotas)
    hosts = {host.strip().lower() for host in settings.fetch_hosts.split(",")} - {""}
    conversations = Conversations(engine, settings, answerer, searches.find, events, quotas)
    received = ReceivedFiles(lambda num_bytes: uploads.free_space(num_bytes), settings.max_file_bytes, hosts)
    uploads = Uploads(
        lambda: uploaded_files(app) | received.files(),
        lambda: pages.files_in_use() | api.files_in_use() | conversations.files_in_use(),
        settings.max_storage_bytes,
    )
    rate = RateLimit(settings.max_events_per_minute, "events")
    use_fair_queue(quotas, rate, settings.address_share)
    limit_connections(quotas.connections)
    programs = make_programs(engine, settings, conversations, received)
    file_limits = (settings.max_file_bytes, Reservations(uploads), quotas.uploads, quotas.body_bytes)
    middleware = [
        json_errors(),
        limit_requests(quotas.requests),
        observe_heartbeats(pages),
        compress_page(),
        refuse_stale_tabs(pages.was_closed),
        guard(settings.password, settings.metrics_token, settings.api_key),
        log_uploads(events),
        limit_rates(rate),
        spool_files(programs.file_paths, *file_limits),
        limit_bodies(*file_limits),
    ]
    more_routes = [*telemetry_routes(metrics, engine), *programs.routes]
    options = launch_options(settings, pages, quotas, more_routes, middleware)
    options["app_kwargs"]["lifespan"] = programs.lifespan
    blocks: dict[str, Any] = {
        "title": CATALOGUES["en"]["page.title"],
        "analytics_enabled": False,
        "fill_width": True,
        "delete_cache": DELETE_CACHE,
    }
    with DemoBlocks(options, hosts, **blocks) as app:
        examples = read_examples()
        build_page(engine, settings, examples, pages, answerer, searches.find, searches.chapters, queue, events)
        api.bind()
    app.queue(default_concurrency_limit=CONCURRENCY, api_open=False)  # no event bypasses the queue
    start_fork_server()
    tasks = (pages.close_abandoned, conversations.idle.close_old, uploads.clean_up)
    start_housekeeping(*tasks, app._queue.forget_sessions)  # type: ignore[attr-defined]
    return app


def launch_options(
    settings: Settings, pages: Pages, quotas: Quotas, more_routes: list[BaseRoute], middleware: list[Middleware]
) -> dict[str, Any]:
    """Arguments for `launch`: address, theme, the folder of examples, and our own routes."""
    routes = [
        frames_route(pages.find_sheets),
        *download_routes(pages.find_video, quotas),
        preview_route(pages.find_preview),
        previews_route(read_examples()),
        close_route(pages),
        documents_route(),
        *replaced_assets(),
        *more_routes,
    ]
    return {
        "server_name": listening_host(settings),
        "server_port": settings.port,
        "root_path": settings.root_path or None,  # None: GRADIO_ROOT_PATH
        "max_threads": THREADS,
        "state_session_capacity": SESSIONS,
        "theme": LightTable(),
        "css_paths": STYLES,
        "head": head(page_constants()),
        "i18n": I18N,
        "allowed_paths": [str(EXAMPLES_FOLDER)],
        "max_file_size": settings.max_file_bytes,
        "footer_links": ["api", "gradio", "settings"],
        "run_history": False,
        "app_kwargs": {"routes": routes, "middleware": middleware},
        "show_error": False,
        "auth": (settings.user, settings.password) if settings.password else None,
        "ssr_mode": False,
        "pwa": False,
    }


def listening_host(settings: Settings) -> str:
    """A Space sets the variable, so that the server is reachable from outside."""
    return os.environ.get("GRADIO_SERVER_NAME", settings.host)


def close_route(pages: Pages) -> Route:
    """The route to which a tab posts when it is closed."""

    def close(request: Request) -> Response:
        pages.disconnect(request.path_params["session"], is_closed=True)
        return Response(status_code=204)

    return Route("/longva/leave/{session}", close, methods=["POST"])
