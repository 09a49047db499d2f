"""What the browser is sent of the transcript."""

from longva_demo.page.i18n import message
from longva_demo.page.markdown import Moments
from longva_demo.page.transcript import (
    WAITING,
    AnswerAttribution,
    BlindCheck,
    ComparedBudget,
    Comparison,
    Transcript,
    TurnEntry,
)
from longva_demo.timed_text import Line


def make_transcript(*entries: TurnEntry) -> Transcript:
    transcript = Transcript()
    for entry in entries:
        transcript.append(entry)
    return transcript


def test_an_unfinished_turn_has_a_status_and_no_tools() -> None:
    transcript = make_transcript(TurnEntry("What moves?", draft=WAITING))
    assert transcript.has_open_turn
    (entry,) = transcript.to_page(0, ["blind"])
    assert entry == {
        "kind": "turn",
        "question": "What moves?",
        "answer": "",
        "html": "",
        "status": message("progress.waiting"),
    }


def test_only_the_newest_answer_has_heat_and_tools() -> None:
    attribution = AnswerAttribution("sure", 0.99, heat="19")
    transcript = make_transcript(*(TurnEntry(name, name, attribution=attribution) for name in "abc"))
    entries = transcript.to_page(2, ["blind", "compare"])
    assert ["heat" in entry for entry in entries] == [False, False, True]
    assert ["tools" in entry for entry in entries] == [False, False, True]
    assert ["checks" in entry for entry in entries] == [False, True, True]


def test_lines_below_an_answer() -> None:
    lines = (Line(1.23456, 2.0, "<b>EXIT</b>", "screen"),)
    (given,) = make_transcript(TurnEntry("What?", "A door.", lines=lines)).to_page(1, [])
    assert given["lines"] == [[1.235, "<b>EXIT</b>", "screen"]]
    assert "lines" not in make_transcript(TurnEntry("What?", "A door.")).to_page(1, [])[0]


def test_only_the_moments_of_the_selected_file_can_be_shown() -> None:
    moments = Moments(90.0, (0.0,))
    transcript = make_transcript(
        TurnEntry("When?", "At 0:42.", file="first.mp4", moments=moments), TurnEntry("Why?"), TurnEntry("Where?")
    )
    transcript.append(TurnEntry("When?", file="second.mp4"))
    entries = transcript.to_page(0, [], "first.mp4")
    assert ["is_elsewhere" in entry for entry in entries] == [False, True, True, True]
    assert "<button" in str(entries[0]["html"])


def test_a_panel_without_a_result_disappears_at_its_end() -> None:
    entry = TurnEntry("What moves?", "A circle.")
    running = entry.with_panel(BlindCheck(draft=WAITING))
    assert running.to_page(is_newest=True)["blind"] == {"answer": "", "html": "", "status": message("progress.waiting")}
    assert running.with_panel(BlindCheck()) == entry
    row = ComparedBudget(8, "A circle.", 0.5, 1200)
    compared = running.with_panel(BlindCheck("A star.")).with_panel(Comparison((row,)))
    value = compared.to_page(is_newest=True)
    assert value["blind"] == {"answer": "A star.", "html": "<p>A star.</p>"}
    assert value["compare"]["rows"] == [
        {"frames": 8, "answer": "A circle.", "duration": 0.5, "tokens": 1200, "windows": 1, "without_lines": False}
    ]


def test_two_notes_never_follow_each_other() -> None:
    transcript = Transcript()
    transcript.start_new_chat()
    assert transcript.entries == ()
    transcript.append(TurnEntry("What moves?"))
    transcript.start_new_chat()
    transcript.start_new_chat()
    assert [entry["kind"] for entry in transcript.to_page(0, [])] == ["turn", "note"]
    transcript.remove_last_turn()
    assert transcript.entries == ()
