"""The chat of a page as a record, and whether a record fits what the page has selected."""

from longva_demo.chat import ChatSession, Source, VideoSource
from longva_demo.chat.record import ChatRecord, Frames, record_chat
from longva_demo.chat.replay import check_file
from longva_demo.errors import DemoError
from longva_demo.page.selection import SampledView, Selection


def record_session(session: ChatSession, view: SampledView | None) -> ChatRecord | None:
    """The turns that the session remembers; None without any, or while their frames are sampled again."""
    has_video = session.source is not None and session.source.kind == "video"
    is_sampling = view is not None and view.sheets.num_done > 0 and not view.sheets.is_finished
    if not session.turns or (has_video and (is_sampling or not session.frames)):
        return None
    return record_chat(session, view.selection.num_frames if view is not None else 0)


def check_selected(record: ChatRecord, source: Source | None, selection: Selection | None) -> None:
    """Check that a chat is about the selected file and frames.

    Raises:
        DemoError: other frames or another file are selected.
    """
    check_file(record, selection.path if selection else None)
    frames = record.media.frames if record.media is not None else None
    if frames is not None and not has_planned(source, selection, frames):
        raise DemoError(
            f"this chat is about other frames (budget {frames.budget:,})", "choose its budget and range, then go on"
        )


def has_planned(source: Source | None, selection: Selection | None, frames: Frames) -> bool:
    """Whether these frames are the selected ones. Frames that could not be decoded are not recorded."""
    return (
        isinstance(source, VideoSource)
        and selection is not None
        and selection.num_frames == frames.budget
        and source.has_numbers == frames.has_numbers
        and set(frames.indices) <= set(source.plan.indices)
    )
