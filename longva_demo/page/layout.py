"""The page's layout, and which event calls which handler."""

from typing import Any, NamedTuple

import gradio as gr

from longva_demo.chat import AdmissionQueue, Capability, Engine
from longva_demo.chat.answering import MAX_CONCURRENT_QUESTIONS, Answerer
from longva_demo.chat.open_engine import in_process
from longva_demo.chat.zero_gpu import quota_of
from longva_demo.moments import Finder, Outliner
from longva_demo.page.checks import Checks
from longva_demo.page.components.about import make_about
from longva_demo.page.components.budget import make_budget
from longva_demo.page.components.chapters import make_chapters
from longva_demo.page.components.component import NOW
from longva_demo.page.components.frame_browser import make_frame_browser
from longva_demo.page.components.gallery import Example, make_gallery
from longva_demo.page.components.header import is_builtin, make_header
from longva_demo.page.components.help import make_help
from longva_demo.page.components.history import make_history
from longva_demo.page.components.machine import make_machine
from longva_demo.page.components.meter import make_meter, meter_facts
from longva_demo.page.components.needle_test import make_needle_test
from longva_demo.page.components.picture import make_picture
from longva_demo.page.components.preview import make_preview_line
from longva_demo.page.components.suggestions import make_suggestions
from longva_demo.page.components.timeline import make_timeline
from longva_demo.page.components.transcript import make_transcript
from longva_demo.page.components.words import make_words
from longva_demo.page.finding import Finding
from longva_demo.page.handlers import Handlers
from longva_demo.page.i18n import I18N
from longva_demo.page.needle_test import NeedleTests
from longva_demo.page.outline import Outlines
from longva_demo.page.save import Save
from longva_demo.page.sessions import Pages
from longva_demo.settings import Settings
from longva_demo.telemetry import EventLog


class Parts(NamedTuple):
    """The components that handlers read and write."""

    gallery: gr.HTML
    machine: gr.HTML
    video: gr.Video
    picture: gr.Image
    needle_test: gr.HTML | None  # if the engine can run it
    chapters: gr.HTML | None  # likewise
    words: gr.HTML
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
    attribution: gr.Checkbox
    history: gr.HTML
    decoder: gr.Radio
    numbers: gr.Checkbox
    temperature: gr.Slider
    top_p: gr.Slider
    max_new_tokens: gr.Slider


def build_page(
    engine: Engine,
    settings: Settings,
    examples: list[Example],
    pages: Pages,
    answerer: Answerer,
    finder: Finder,
    outliner: Outliner,
    queue: AdmissionQueue,
    events: EventLog,
) -> None:
    """Add the page to the current Blocks, and bind its events to the handlers."""
    parts = lay_out(engine, settings, examples)
    handlers = Handlers(engine, settings, pages, answerer, events)
    bind_selecting(parts, handlers)
    changes = bind_asking(parts, handlers)
    Checks(engine, pages, answerer).bind(parts.transcript, parts.question, parts.asked_at)
    Finding(pages, finder).bind(parts.timeline, parts.asked_at, parts.file)
    if parts.needle_test is not None:
        NeedleTests(in_process(engine, Capability.NEEDLE_TEST), pages, queue, events).bind(
            parts.needle_test, parts.asked_at
        )
    if parts.chapters is not None:
        Outlines(pages, outliner).bind(parts.chapters, parts.asked_at, parts.file)
    handlers.words.bind(parts.words, parts.cost, parts.asked_at, parts.file)
    Save(pages).bind(parts.transcript, parts.file, parts.history, changes)


def lay_out(engine: Engine, settings: Settings, examples: list[Example]) -> Parts:
    """The header and the gallery above; on the left the video, its frames and their cost; on the right the chat."""
    make_header(engine.model, elem_id="header")
    gallery = make_gallery(examples, elem_id="gallery")
    with gr.Row(elem_id="desk", equal_height=False):
        with gr.Column(scale=6, min_width=340, elem_id="selecting"):
            selecting = lay_out_selecting(engine, settings)
        with gr.Column(scale=5, min_width=340, elem_id="asking"):
            asking = lay_out_asking(engine, settings, "_builtin" if is_builtin(engine.model) else "")
    make_help(bool(settings.password), elem_id="help")
    return Parts(gallery=gallery, machine=make_machine(elem_id="machine"), **selecting, **asking)


def lay_out_selecting(engine: Engine, settings: Settings) -> dict[str, Any]:
    with gr.Tabs(elem_id="media"):
        with gr.Tab(I18N("tab.video"), id="video", elem_id="video-tab"):
            # The model would discard a camera's full resolution, which slows the recording down.
            camera = gr.WebcamOptions(constraints={"video": {"width": {"ideal": 1280}, "height": {"ideal": 720}}})
            video = gr.Video(
                sources=["upload", "webcam"], show_label=False, elem_id="player", buttons=[], webcam_options=camera
            )
        with gr.Tab(I18N("tab.picture"), id="picture", elem_id="picture-tab"):
            picture = make_picture(elem_id="picture")
        needle_test = None
        if Capability.NEEDLE_TEST in engine.capabilities:
            with gr.Tab(I18N("tab.needle"), id="needle", elem_id="needle-tab"):
                needle_test = make_needle_test(elem_id="needle-test")
        chapters = None
        if Capability.WINDOWS in engine.capabilities:
            with gr.Tab(I18N("tab.chapters"), id="chapters", elem_id="chapters-tab"):
                chapters = make_chapters(elem_id="chapters")
        with gr.Tab(I18N("tab.words"), id="words", elem_id="words-tab"):
            words = make_words(elem_id="words")
    preview = make_preview_line(elem_id="preview")
    timeline = make_timeline(Capability.WINDOWS in engine.capabilities, elem_id="timeline")
    about = make_about(elem_id="about")
    with gr.Row(elem_id="sampling", equal_height=True):
        budget = make_budget(engine.default_frames, settings.max_frames, elem_id="budget")
        start = gr.Textbox(label=I18N("range.from"), placeholder="0:00", max_lines=1, elem_id="start", min_width=80)
        end = gr.Textbox(
            label=I18N("range.to"), placeholder=I18N("range.end"), max_lines=1, elem_id="end", min_width=80
        )
    quota = quota_of(settings.max_new_tokens)
    cost = make_meter(meter_facts(engine.meter(1), None, engine.prefill_times, quota), elem_id="cost")
    frames = make_frame_browser(elem_id="frames")
    return {
        "video": video,
        "picture": picture,
        "needle_test": needle_test,
        "chapters": chapters,
        "words": words,
        "preview": preview,
        "timeline": timeline,
        "about": about,
        "budget": budget,
        "start": start,
        "end": end,
        "cost": cost,
        "frames": frames,
        "asked_at": gr.Number(0, visible=False),  # when the browser asked, in ms on its own clock
    }


def lay_out_asking(engine: Engine, settings: Settings, kind: str) -> dict[str, Any]:
    """`kind` is the suffix of the messages that say which languages the model reads."""
    transcript = make_transcript(f"chat.hint{kind}", f"chat.scope{kind}", elem_id="chat")
    suggestions = make_suggestions(bool(kind), elem_id="suggestions")
    question = gr.Textbox(
        placeholder=I18N(f"ask.placeholder{kind}"),
        show_label=False,
        label=I18N("ask.label"),
        submit_btn=str(I18N("ask.button")),
        lines=1,
        max_lines=6,
        interactive=True,
        elem_id="question",
    )
    asked = gr.Textbox(visible=False)  # always empty: draft.js puts the question in its place
    file = gr.Textbox(visible=False)  # a saved chat on its way to the browser
    return {
        "transcript": transcript,
        "suggestions": suggestions,
        "question": question,
        "asked": asked,
        "file": file,
        **lay_out_settings(settings, Capability.ATTENTION in engine.capabilities),
        "history": make_history(elem_id="history"),
    }


def lay_out_settings(settings: Settings, has_attention: bool) -> dict[str, Any]:
    """`has_attention`: attribution hides frames with attention; without it, it finds where an answer is first seen."""
    with gr.Accordion(I18N("settings.label"), open=False, elem_id="settings"):
        temperature = gr.Slider(
            0, 1.5, 0, step=0.1, label=I18N("settings.temperature"), info=I18N("settings.temperature_info")
        )
        top_p = gr.Slider(0.05, 1, 1, step=0.05, label=I18N("settings.top_p"), info=I18N("settings.top_p_info"))
        max_new_tokens = gr.Slider(
            1,
            max(1024, settings.max_new_tokens),
            settings.max_new_tokens,
            step=1,
            label=I18N("settings.longest"),
            info=I18N("settings.longest_info"),
        )
        attribution = gr.Checkbox(
            True,
            label=I18N("settings.attribution"),
            info=I18N("settings.attribution_info" if has_attention else "settings.first_seen_info"),
        )
        decoder = gr.Radio(
            ["pyav", "decord"],
            value=settings.decoder,
            label=I18N("settings.decoder"),
            info=I18N("settings.decoder_info"),
        )
        numbers = gr.Checkbox(False, label=I18N("settings.numbers"), info=I18N("settings.numbers_info"))
    return {
        "attribution": attribution,
        "decoder": decoder,
        "numbers": numbers,
        "temperature": temperature,
        "top_p": top_p,
        "max_new_tokens": max_new_tokens,
    }


def bind_selecting(parts: Parts, handlers: Handlers) -> None:
    """Every change of the selection calls `select`.

    The browser decides what the fields hold (selection.js), since a reply of the server may be late.
    """
    fields = [parts.video, parts.picture, parts.budget, parts.start, parts.end, parts.decoder, parts.numbers]
    hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    select: dict[str, Any] = {
        "fn": handlers.select,
        "inputs": [*fields, parts.asked_at],
        "outputs": [parts.frames, parts.about, parts.cost, parts.transcript],
        "js": "(...fields) => selection.requestInputs(fields)",
        "trigger_mode": "multiple",
        **hidden,
    }
    rest = [parts.start, parts.end, parts.suggestions]
    picked = [parts.video, parts.picture, parts.budget, *rest]

    def after(event: Any, outputs: list[Any], script: str) -> Any:
        """What follows `script`, which fills in the outputs."""
        return event(None, None, outputs, js=script, **hidden).then

    changes = [
        after(parts.gallery.pick, picked, "() => selection.exampleFields()"),
        after(parts.video.upload, [parts.picture, parts.budget, *rest], "() => selection.uploaded('video')"),
        after(parts.video.stop_recording, [parts.picture, parts.budget, *rest], "() => selection.uploaded('video')"),
        after(parts.picture.upload, [parts.video, parts.budget, *rest], "() => selection.uploaded('picture')"),
        after(parts.video.clear, rest, "() => selection.removed('video')"),
        after(parts.picture.clear, rest, "() => selection.removed('picture')"),
        after(parts.about.restore, picked, "() => selection.restoredFields()"),
        after(parts.timeline.range, rest[:2], "() => selection.rangeFields()"),
        after(parts.frames.closer, rest[:2], "() => selection.rangeFields()"),
        parts.budget.settle,
        parts.start.submit,
        parts.start.blur(None, None, None, js="() => selection.left('start')", **hidden).success,
        parts.end.submit,
        parts.end.blur(None, None, None, js="() => selection.left('end')", **hidden).success,
        parts.decoder.input,
        parts.numbers.input,
    ]
    for event in changes:
        event(**select).failure(None, None, None, js="() => selection.requestFailed()", **hidden)
    parts.machine.examine(handlers.examine, None, parts.machine, **hidden)
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
    """Enter, the button and suggestions share one handler. Returns the events that change the conversation."""
    sampling = [parts.temperature, parts.top_p, parts.max_new_tokens]
    fields = [parts.video, parts.picture, parts.budget, parts.start, parts.end, parts.decoder, parts.numbers]
    shown, asked_at = [parts.transcript, parts.question], parts.asked_at
    hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    many: dict[str, Any] = {"concurrency_limit": MAX_CONCURRENT_QUESTIONS}
    ask: dict[str, Any] = {
        "fn": handlers.ask,
        "inputs": [parts.asked, *fields, *sampling, asked_at],
        "outputs": shown,
        "js": "(...fields) => draft.requestInputs(fields)",
        "trigger_mode": "multiple",
        **hidden,
        **many,
    }
    # Each prefill is measured, and uses memory: both change the cost of a budget.
    meter: dict[str, Any] = {"fn": handlers.meter, "outputs": parts.cost, **hidden}
    # The page empties the field, waits for a running upload or answer, and asks (draft.js).
    waits: dict[str, Any] = {"trigger_mode": "multiple", **hidden}
    submitted = parts.question.submit(None, None, None, js="() => undefined", **waits)
    chosen = parts.suggestions.choose(None, None, None, js="() => undefined", **waits)
    parts.question.stop(handlers.stop, asked_at, None, js=NOW, queue=False, **hidden)
    asks = [
        event.success(None, None, None, js="() => draft.ready()", **waits).success(**ask)
        for event in (submitted, chosen)
    ]
    for event in asks:
        event.failure(None, None, None, js="() => draft.requestFailed()", **hidden)
        event.success(None, None, None, js="() => draft.ended()", **hidden)
    answered = [
        *asks,
        parts.transcript.retry(handlers.retry, [*sampling, asked_at], shown, js=NOW, **hidden, **many),
        parts.transcript.edit(handlers.edit, [*sampling, asked_at], shown, js=NOW, **hidden, **many),
    ]
    for answer in answered:
        answer.then(**meter)
    resumed = parts.history.resume(handlers.resume, None, parts.transcript, **hidden)
    failed = '() => document.dispatchEvent(new CustomEvent("longva:resume-failed"))'
    resumed.failure(None, None, None, js=failed, **hidden)
    return [
        *(answer.success(handlers.attribute, parts.attribution, parts.transcript, **hidden) for answer in answered),
        resumed,
        parts.transcript.undo(handlers.undo, asked_at, parts.transcript, js=NOW, **hidden),
        parts.transcript.clear(handlers.clear, asked_at, parts.transcript, js=NOW, **hidden),
    ]
