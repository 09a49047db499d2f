"""Where everything stands on the page, and which event calls which handler."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from starlette.middleware import Middleware
from starlette.routing import Route

from longva_demo.chat import Engine, WaitingLine
from longva_demo.settings import Settings
from longva_demo.ui.api import Api
from longva_demo.ui.asking import ASKING, make_asker
from longva_demo.ui.checks import Checks
from longva_demo.ui.downloads import download_routes
from longva_demo.ui.frame_browser import frames_route, make_frame_browser
from longva_demo.ui.gallery import EXAMPLES_FOLDER, Example, make_gallery, previews_route, read_examples
from longva_demo.ui.handlers import Handlers
from longva_demo.ui.header import is_builtin, make_header
from longva_demo.ui.intake import intake
from longva_demo.ui.keeping import Keeping
from longva_demo.ui.meter import make_meter, meter_facts
from longva_demo.ui.needle_test import NeedleTests, make_panel
from longva_demo.ui.observe import EventLog, Metrics, observe_routes, observed
from longva_demo.ui.page_app import PageApp
from longva_demo.ui.pages import Pages, leave_route
from longva_demo.ui.preview import make_preview_line, preview_route
from longva_demo.ui.rate import Rate, at_a_rate, posts_at_a_rate
from longva_demo.ui.restart import restarts
from longva_demo.ui.theme import LightTable
from longva_demo.ui.timeline import make_timeline
from longva_demo.ui.upkeep import keep_up
from longva_demo.ui.uploads import Uploads, uploaded_files
from longva_demo.ui.widgets import (
    NOW,
    make_about,
    make_budget,
    make_history,
    make_picture,
    make_suggestions,
    make_transcript,
    make_waiting,
)
from longva_demo.ui.words import CATALOGUES, WORDS, head

HERE = Path(__file__).parent
# Simultaneous handlers of one kind; the engine itself lets one chat use the model at a time.
CONCURRENCY = 16
# Each running event takes a thread for a moment.
THREADS = 2 * ASKING
# Gradio keeps what it last sent to each page, gone ones too: 10,000 of them if it is not told. One that was forgotten
# is made anew, and what belongs to a visitor is in `Pages`.
SESSIONS = 200
# Gradio deletes uploads when the server ends; before that, `uploads` does, which knows what is in use.
DELETE_CACHE = (3600, 365 * 24 * 3600)


class Parts(NamedTuple):
    """The components that handlers read and write."""

    gallery: gr.HTML
    video: gr.Video
    picture: gr.Image
    needle_test: gr.HTML
    preview: gr.HTML
    timeline: gr.HTML
    about: gr.HTML
    budget: gr.HTML
    start: gr.Textbox
    end: gr.Textbox
    cost: gr.HTML
    asked_at: gr.Number
    frames: gr.HTML
    transcript: gr.HTML
    suggestions: gr.HTML
    question: gr.Textbox
    asked: gr.Textbox
    file: gr.Textbox
    weighing: gr.Checkbox
    history: gr.HTML
    decoder: gr.Radio
    temperature: gr.Slider
    top_p: gr.Slider
    max_new_tokens: gr.Slider


def build_app(engine: Engine, settings: Settings) -> gr.Blocks:
    """The page and its two API endpoints; `build_app(engine, settings).launch()` serves it as the settings say."""
    examples = read_examples()
    # The page names them itself when a card is clicked; they are read where they are.
    gr.set_static_paths([EXAMPLES_FOLDER])
    pages = Pages(engine)
    line = WaitingLine(engine.reads)
    metrics = Metrics(num_pages=lambda: len(pages), num_waiting=lambda: len(line), prefixes=engine.prefixes)
    events = EventLog(settings, metrics)
    asker = at_a_rate(make_asker(engine, line), Rate(settings.max_questions_per_minute, "questions"))
    asker = observed(asker, engine, metrics, events)
    handlers = Handlers(engine, settings, pages, asker, events)
    api = Api(engine, settings, asker, events)
    uploads = Uploads(
        lambda: uploaded_files(app), lambda: pages.files_in_use() | api.files_in_use(), settings.max_uploads_bytes
    )
    rate = Rate(settings.max_events_per_minute, "events")
    middleware = [
        restarts(pages.was_closed),
        events.uploads,
        posts_at_a_rate(rate),
        intake(settings.max_upload_bytes, uploads.make_room),
    ]
    options = launch_options(settings, pages, observe_routes(metrics, engine), middleware)
    title = CATALOGUES["en"]["page.title"]
    hosts = {host.strip().lower() for host in settings.fetch_hosts.split(",")} - {""}
    page = {"title": title, "analytics_enabled": False, "fill_width": True, "delete_cache": DELETE_CACHE}
    with PageApp(options, hosts, rate, **page) as app:
        parts = lay_out(engine, settings, examples)
        bind_looking(parts, handlers)
        changes = bind_asking(parts, handlers)
        Checks(engine, pages, asker).bind(parts.transcript, parts.question, parts.asked_at)
        NeedleTests(engine, pages, line, events).bind(parts.needle_test, parts.asked_at)
        Keeping(pages).bind(parts.transcript, parts.file, parts.history, changes)
        app.unload(handlers.leave)
        api.bind()
    app.queue(default_concurrency_limit=CONCURRENCY)
    keep_up(pages.sweep, uploads.tidy)
    return app


def launch_options(
    settings: Settings, pages: Pages, more_routes: list[Route], middleware: list[Middleware]
) -> dict[str, Any]:
    """What `launch` needs: address, look, the examples' folder, and the addresses that are not Gradio's own."""
    routes = [
        frames_route(pages.find_sheets),
        *download_routes(pages.find_video),
        preview_route(pages.find_preview),
        previews_route(),
        leave_route(pages),
        *more_routes,
    ]
    return {
        # On a Space, Gradio is told to listen beyond this machine.
        "server_name": os.environ.get("GRADIO_SERVER_NAME", settings.host),
        "server_port": settings.port,
        "max_threads": THREADS,
        "state_session_capacity": SESSIONS,
        "theme": LightTable(),
        "css_paths": [HERE / "style.css"],
        "head": head(),
        "i18n": WORDS,
        "allowed_paths": [str(EXAMPLES_FOLDER)],
        "max_file_size": settings.max_upload_bytes,
        "footer_links": ["api", "gradio", "settings"],
        "run_history": False,
        "app_kwargs": {"routes": routes, "middleware": middleware},
        "show_error": False,
        "auth": (settings.user, settings.password) if settings.password else None,
        "ssr_mode": False,
        "pwa": False,
    }


def lay_out(engine: Engine, settings: Settings, examples: list[Example]) -> Parts:
    """Header and gallery above; the video, its frames and their cost on the left, the chat on the right."""
    make_header(engine.loaded, elem_id="header")
    gallery = make_gallery(examples, elem_id="gallery")
    with gr.Row(elem_id="desk", equal_height=False):
        with gr.Column(scale=6, min_width=340, elem_id="looking"):
            looking = lay_out_looking(engine, settings)
        with gr.Column(scale=5, min_width=340, elem_id="asking"):
            asking = lay_out_asking(settings, "_builtin" if is_builtin(engine.loaded) else "")
    return Parts(gallery=gallery, **looking, **asking)


def lay_out_looking(engine: Engine, settings: Settings) -> dict[str, Any]:
    with gr.Tabs(elem_id="media"):
        with gr.Tab(WORDS("tab.video"), id="video", elem_id="video-tab"):
            # A camera's full resolution would be thrown away by the model, and slows the recording.
            camera = gr.WebcamOptions(constraints={"video": {"width": {"ideal": 1280}, "height": {"ideal": 720}}})
            video = gr.Video(
                sources=["upload", "webcam"], show_label=False, elem_id="player", buttons=[], webcam_options=camera
            )
        with gr.Tab(WORDS("tab.picture"), id="picture", elem_id="picture-tab"):
            picture = make_picture(elem_id="picture")
        with gr.Tab(WORDS("tab.needle"), id="needle", elem_id="needle-tab"):
            needle_test = make_panel(elem_id="needle-test")
    preview = make_preview_line(elem_id="preview")
    timeline = make_timeline(elem_id="timeline")
    about = make_about(elem_id="about")
    with gr.Row(elem_id="sampling", equal_height=True):
        budget = make_budget(settings.num_frames, settings.max_frames, elem_id="budget")
        start = gr.Textbox(label=WORDS("range.from"), placeholder="0:00", max_lines=1, elem_id="start", min_width=80)
        end = gr.Textbox(
            label=WORDS("range.to"), placeholder=WORDS("range.end"), max_lines=1, elem_id="end", min_width=80
        )
    cost = make_meter(meter_facts(engine.meter(1), None, engine.reads), elem_id="cost")
    frames = make_frame_browser(elem_id="frames")
    return {
        "video": video,
        "picture": picture,
        "needle_test": needle_test,
        "preview": preview,
        "timeline": timeline,
        "about": about,
        "budget": budget,
        "start": start,
        "end": end,
        "cost": cost,
        "frames": frames,
        "asked_at": gr.Number(0, visible=False),  # when the page asked for something, on its own clock
    }


def lay_out_asking(settings: Settings, kind: str) -> dict[str, Any]:
    """`kind` ends the keys of the texts that say which languages the model reads."""
    transcript = make_transcript(f"chat.hint{kind}", elem_id="chat")
    suggestions = make_suggestions(elem_id="suggestions")
    make_waiting(elem_id="waiting")
    question = gr.Textbox(
        placeholder=WORDS(f"ask.placeholder{kind}"),
        show_label=False,
        label=WORDS("ask.label"),
        submit_btn=str(WORDS("ask.button")),
        lines=1,
        max_lines=6,
        interactive=True,
        elem_id="question",
    )
    asked = gr.Textbox(visible=False)  # holds nothing: the page puts the question in its place (draft.js)
    file = gr.Textbox(visible=False)  # a saved chat on its way to the browser
    return {
        "transcript": transcript,
        "suggestions": suggestions,
        "question": question,
        "asked": asked,
        "file": file,
        **lay_out_settings(settings),
        "history": make_history(elem_id="history"),
    }


def lay_out_settings(settings: Settings) -> dict[str, Any]:
    with gr.Accordion(WORDS("settings.label"), open=False, elem_id="settings"):
        temperature = gr.Slider(
            0, 1.5, 0, step=0.1, label=WORDS("settings.temperature"), info=WORDS("settings.temperature_info")
        )
        top_p = gr.Slider(0.05, 1, 1, step=0.05, label=WORDS("settings.top_p"), info=WORDS("settings.top_p_info"))
        max_new_tokens = gr.Slider(
            1,
            max(1024, settings.max_new_tokens),
            settings.max_new_tokens,
            step=1,
            label=WORDS("settings.longest"),
            info=WORDS("settings.longest_info"),
        )
        weighing = gr.Checkbox(True, label=WORDS("settings.weighing"), info=WORDS("settings.weighing_info"))
        decoder = gr.Radio(
            ["pyav", "decord"],
            value=settings.decoder,
            label=WORDS("settings.decoder"),
            info=WORDS("settings.decoder_info"),
        )
    return {
        "weighing": weighing,
        "decoder": decoder,
        "temperature": temperature,
        "top_p": top_p,
        "max_new_tokens": max_new_tokens,
    }


def bind_looking(parts: Parts, handlers: Handlers) -> None:
    """Everything that changes what is looked at ends in `look`.

    What a field is to hold is settled in the browser (selection.js): an answer of the server might come late.
    """
    fields = [parts.video, parts.picture, parts.budget, parts.start, parts.end, parts.decoder]
    hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    look: dict[str, Any] = {
        "fn": handlers.look,
        "inputs": [*fields, parts.asked_at],
        "outputs": [parts.frames, parts.about, parts.cost, parts.transcript],
        "js": "(...fields) => selection.look(fields)",
        "trigger_mode": "multiple",
        **hidden,
    }
    rest = [parts.start, parts.end, parts.suggestions]
    picked = [parts.video, parts.picture, parts.budget, *rest]

    def turn(event: Any, outputs: list[Any], script: str) -> Any:
        return event(None, None, outputs, js=script, **hidden).then

    looks = [
        turn(parts.gallery.pick, picked, "() => selection.chosen()"),
        turn(parts.video.upload, [parts.picture, *rest], "() => selection.uploaded('video')"),
        turn(parts.video.stop_recording, [parts.picture, *rest], "() => selection.uploaded('video')"),
        turn(parts.picture.upload, [parts.video, *rest], "() => selection.uploaded('picture')"),
        turn(parts.video.clear, rest, "() => selection.removed('video')"),
        turn(parts.picture.clear, rest, "() => selection.removed('picture')"),
        turn(parts.timeline.range, rest[:2], "() => selection.narrowed()"),
        turn(parts.frames.closer, rest[:2], "() => selection.narrowed()"),
        parts.budget.settle,
        parts.start.submit,
        parts.start.blur(None, None, None, js="() => selection.left('start')", **hidden).success,
        parts.end.submit,
        parts.end.blur(None, None, None, js="() => selection.left('end')", **hidden).success,
        parts.decoder.input,
    ]
    for event in looks:
        event(**look).failure(None, None, None, js="() => selection.failed()", **hidden)
    parts.preview.need(
        handlers.preview,
        [parts.video, parts.picture, parts.asked_at],
        parts.preview,
        js=NOW,
        concurrency_limit=2,
        trigger_mode="multiple",
        **hidden,
    )


def bind_asking(parts: Parts, handlers: Handlers) -> list[gr.events.Dependency]:
    """Enter, the button and a suggestion share one handler. Returns the events that change the conversation."""
    sampling = [parts.temperature, parts.top_p, parts.max_new_tokens]
    fields = [parts.video, parts.picture, parts.budget, parts.start, parts.end, parts.decoder]
    shown, asked_at = [parts.transcript, parts.question], parts.asked_at
    hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    many: dict[str, Any] = {"concurrency_limit": ASKING}
    ask: dict[str, Any] = {
        "fn": handlers.ask,
        "inputs": [parts.asked, *fields, *sampling, asked_at],
        "outputs": shown,
        "js": "(...fields) => asked(fields)",
        "trigger_mode": "multiple",
        **hidden,
        **many,
    }
    # What was read says how long reading takes here, and takes room.
    meter: dict[str, Any] = {"fn": handlers.meter, "outputs": parts.cost, **hidden}
    # The page empties the field, waits for an upload that may be on its way, and asks (draft.js).
    submitted = parts.question.submit(None, None, None, js="() => undefined", **hidden)
    chosen = parts.suggestions.choose(None, None, None, js="() => undefined", **hidden)
    parts.question.stop(handlers.stop, asked_at, None, js=NOW, queue=False, **hidden)
    asks = [
        event.success(None, None, None, js="() => ready()", **hidden).success(**ask) for event in (submitted, chosen)
    ]
    for event in asks:
        event.failure(None, None, None, js="() => refused()", **hidden)
    answered = [
        *asks,
        parts.transcript.retry(handlers.retry, [*sampling, asked_at], shown, js=NOW, **hidden, **many),
        parts.transcript.edit(handlers.edit, [*sampling, asked_at], shown, js=NOW, **hidden, **many),
    ]
    for answer in answered:
        answer.then(**meter)
    return [
        *(answer.success(handlers.weigh, parts.weighing, parts.transcript, **hidden) for answer in answered),
        parts.transcript.undo(handlers.undo, asked_at, parts.transcript, js=NOW, **hidden),
        parts.transcript.clear(handlers.clear, asked_at, parts.transcript, js=NOW, **hidden),
    ]
