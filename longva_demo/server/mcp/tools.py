"""The tools. Their names, descriptions and errors are what an agent reads."""

import json
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context, Image
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field, ValidationError
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool

from longva_demo.chat import Progress, Sampling, Stage
from longva_demo.errors import DemoError
from longva_demo.moments import Moments, Search
from longva_demo.page.selection import Selection
from longva_demo.server.conversations import Answered, Conversations, Question, Stopping
from longva_demo.server.mcp.videos import Sheet, answer_text, describe_file, find_lines, make_sheet, moments_text
from longva_demo.server.openai.errors import ApiError
from longva_demo.server.openai.schema import first_problem
from longva_demo.server.running import Event, RunningAnswer
from longva_demo.settings import Settings
from longva_demo.strict import TIME
from longva_demo.times import parse_time

INSTRUCTIONS = """Look at videos and pictures with LongVA, coarsely at first, then closely. Begin with video_info and \
sample_frames. Ask about the whole video with ask_video, then use look_closer with the range that matters: it spends \
all frames on it. A second question about the same frames is fast. The model sees sampled frames and hears nothing. \
Trust the times in brackets after its answer, not those in it."""
POLL_SECONDS = 5.0
# Opens the video that a call names: its path, and what changes when its content does.
OpenVideo = Callable[[str, Context], AbstractContextManager[tuple[Path, str]]]

Video = Annotated[str, Field(description="the video or picture, as the instructions of this server say")]
Time = Annotated[str | float, TIME, Field(description="in seconds or h:mm:ss")]
Text = Annotated[str, Field(description="one question about what is visible")]
Frames = Annotated[int | None, Field(description="how many frames the model is given, evenly spaced; more take longer")]
Relied = Annotated[bool, Field(description="also find the frames that the answer relied on, which takes longer")]


class Server(MCPServer):
    """Tells a wrong argument in one line, where the library sends pydantic's report with its links."""

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Context | None = None) -> Any:
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            if isinstance(cause := error.__cause__, ValidationError):
                raise ToolError(f"Error executing tool {name}: {first_problem(cause).message}") from cause
            raise


class Tools:
    """`conversations` may take long at its first call, to load the model."""

    def __init__(
        self, settings: Settings, conversations: Callable[[], Conversations], open_video: OpenVideo, videos: str
    ) -> None:
        """`videos` tells an agent how to name a video."""
        self._settings = settings
        self._conversations = conversations
        self._open_video = open_video
        self.server: MCPServer = Server("longva", instructions=f"{INSTRUCTIONS} {videos}")
        closer = (self.ask_video, self.look_closer, self.find_moments, self.find_words)
        for tool in (self.video_info, self.sample_frames, *closer):
            self.server.add_tool(tool, structured_output=False)

    async def video_info(self, video: Video, ctx: Context) -> str:
        """Duration, size, frame rate and codec of a video, or the size of a picture. Asks no model."""
        with told(), self._open_video(video, ctx) as (path, _):
            return json.dumps(await run_in_threadpool(describe_file, path, self._settings))

    async def sample_frames(
        self,
        video: Video,
        ctx: Context,
        num_frames: Annotated[int, Field(description="1 to 64")] = 16,
        start: Time = "",
        end: Time = "",
    ) -> list[Any]:
        """Evenly spaced frames of a video, or of a range of it, as one picture (a contact sheet) with their times.
        Asks no model."""
        with told(), self._open_video(video, ctx) as (path, _):
            first, last = read_time(start) or 0.0, read_time(end)
            with closing(make_sheet(path, num_frames, first, last, self._settings)) as steps:
                async for step in iterate_in_threadpool(steps):
                    if isinstance(step, Sheet):
                        return [Image(data=step.jpeg, format="jpeg"), step.text]
                    await ctx.report_progress(*step, "sampling frames")
        raise AssertionError("the last step is the sheet")

    async def ask_video(
        self,
        question: Text,
        video: Video,
        ctx: Context,
        num_frames: Frames = None,
        start: Time = "",
        end: Time = "",
        attribution: Relied = False,
    ) -> str:
        """Answer a question about a video or picture. The first question about a video takes as long as reading its
        frames; later ones about the same frames are fast."""
        return await self._ask(question, video, ctx, num_frames, (start, end), attribution)

    async def look_closer(
        self,
        question: Text,
        video: Video,
        start: Time,
        end: Time,
        ctx: Context,
        num_frames: Frames = None,
        attribution: Relied = False,
    ) -> str:
        """Answer a question about a short range of a video, with all frames taken from it. For details, and for what
        was too brief to be among the frames of the whole video."""
        return await self._ask(question, video, ctx, num_frames, (start, end), attribution)

    async def find_moments(
        self,
        query: Annotated[str, Field(description='a thing ("a red star"), or a question with the answer yes or no')],
        video: Video,
        ctx: Context,
        num_frames: Annotated[int, Field(description="how many frames are looked at, each on its own")] = 128,
        start: Time = "",
        end: Time = "",
    ) -> str:
        """When a video shows something: ranges with times and scores. Use it to find where to look closer."""
        with told(), self._open_video(video, ctx) as (path, _):
            settings = self._settings
            selection = Selection.from_fields(str(path), num_frames, str(start), str(end), settings.decoder, settings)
            assert selection is not None
            conversations, stopping = await run_in_threadpool(self._conversations), threading.Event()
            found = Moments()
            try:
                with closing(conversations.find(selection, Search(query), stopping.is_set)) as steps:
                    async for found in iterate_in_threadpool(steps):
                        if found.progress is not None and found.progress.stage is not Stage.QUEUED:
                            await ctx.report_progress(len(found.frames), None, "looking at frames")
            finally:
                stopping.set()
            return moments_text(found)

    async def find_words(
        self,
        query: Annotated[str, Field(description="words, which need not be exact")],
        video: Video,
        ctx: Context,
    ) -> str:
        """Where words are said or written in a video (subtitles, speech, text in the picture), with times. Empty words
        give all lines."""
        with (
            told(),
            self._open_video(video, ctx) as (path, _),
            closing(find_lines(path, query, self._settings)) as steps,
        ):
            num_steps = 0
            async for step in iterate_in_threadpool(steps):
                if isinstance(step, str):
                    return step
                num_steps += 1  # each source counts from 0, but progress may only grow
                await ctx.report_progress(num_steps, None, f"{step[0]:,} of {step[1]:,}")
        raise AssertionError("the last step is the text")

    async def _ask(
        self, text: str, video: str, ctx: Context, num_frames: int | None, times: tuple[Any, Any], attribution: bool
    ) -> str:
        with told(), self._open_video(video, ctx) as (path, content):

            def answer(stopping: Stopping) -> Generator[Event]:
                conversations = self._conversations()
                budget = conversations.engine.default_frames if num_frames is None else num_frames
                start, end = (str(time) for time in times)
                selection = Selection.from_fields(str(path), budget, start, end, self._settings.decoder, self._settings)
                sampling = Sampling(max_new_tokens=self._settings.max_new_tokens)
                question = Question(text, selection, content, sampling=sampling, with_attribution=attribution)
                yield from conversations.answer(question, stopping, "mcp")

            running = RunningAnswer(answer)
            try:
                while not isinstance(event := await running.next(POLL_SECONDS), Answered):
                    # Progress may only grow, so the other stages, which count from 0 again, are not reported.
                    if isinstance(event, Progress) and event.stage is Stage.PREFILL:
                        await ctx.report_progress(event.done, event.total, "reading frames")
                return answer_text(event)
            finally:
                running.stop()  # the call may have been cancelled


def read_time(time: str | float) -> float | None:
    """Seconds; None if no time was given."""
    text = str(time).strip()
    return parse_time(text) if text else None


@contextmanager
def told() -> Iterator[None]:
    """Errors for the agent. The texts of others are hidden from it."""
    try:
        yield
    except (DemoError, ApiError) as error:
        raise ToolError(str(error)) from None
