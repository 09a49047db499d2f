"""What clients send: the fields that are read. Others are ignored, since clients send many unasked."""

import json
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from longva_demo.chat.sampling import Sampling
from longva_demo.errors import one_line, short
from longva_demo.server.openai.errors import ApiError
from longva_demo.strict import TIME

MAX_NEW_TOKENS = 4096  # the most that `Sampling` takes
MAX_STOPS, MAX_STOP_CHARACTERS = 4, 200
MAX_MESSAGE_CHARACTERS, MAX_PATH_CHARACTERS = 300, 100
# Where the data of a part may be, besides in the field that is named like its type.
DATA_FIELDS = ("url", "data", "base64", "file_data", "image_url", "video_url", "file_url")
ANY_OBJECT = '{"type": "object"}'
# Fields that ask for what there is not. Empty values ask for nothing.
UNSUPPORTED = {
    "tools": "the model cannot call tools",
    "functions": "the model cannot call functions",
    "audio": "the model neither hears nor speaks",
    "logit_bias": "the probabilities of tokens cannot be changed",
    "logprobs": "the probabilities of tokens are not returned",
    "top_logprobs": "the probabilities of tokens are not returned",
    "previous_response_id": "responses are not stored; send the whole conversation",
    "conversation": "conversations are not stored; send all of it",
    "background": "responses are not stored; wait for the answer",
}


def list_of_texts(value: Any) -> Any:
    """A stop text alone, or None, as a list."""
    return [value] if isinstance(value, str) else value or []


def list_of_parts(value: Any) -> Any:
    """A message's content as a list of parts."""
    if value is None:
        return []
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


def list_of_messages(value: Any) -> Any:
    """The input of a response as a list of messages."""
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


def find_data(value: Any) -> str | None:
    """The data in a part, or in the field that is named like its type: a text, or an object with one."""
    if isinstance(value, dict):
        return next((data for name in DATA_FIELDS if (data := find_data(value.get(name)))), None)
    return value if isinstance(value, str) and value else None


class TextPart(BaseModel):
    type: Literal["text", "input_text", "output_text"]
    text: str


class FilePart(BaseModel):
    """A video or a picture. Its content says which, whatever the type."""

    type: Literal["image_url", "video_url", "input_image", "input_video", "image", "video", "file", "input_file"]
    data: str  # a data URL, base64, a URL, or a reference to a file that has arrived (spool.py)

    @model_validator(mode="before")
    @classmethod
    def _find_data(cls, part: Any) -> Any:
        data = find_data(part.get(part["type"], part))
        if data is None:
            raise ValueError("the part has no data; send a data: URL with base64")
        return {"type": part["type"], "data": data}


Time = Annotated[str | float | None, TIME]
Part = Annotated[TextPart | FilePart, Field(discriminator="type")]
Content = Annotated[list[Part], BeforeValidator(list_of_parts)]


class Message(BaseModel):
    """A message of a chat, or an item of a response's input: a message, or another model's reasoning."""

    type: str | None = None
    role: str | None = None
    content: Content = []


class StreamOptions(BaseModel):
    include_usage: bool | None = None


class VideoOptions(BaseModel):
    num_frames: int | None = None


class MediaOptions(BaseModel):
    """As vLLM takes them."""

    video: VideoOptions = VideoOptions()


class LongvaOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")
    attribution: bool = False


class Request(BaseModel):
    """The fields of both kinds of requests. Others are kept, so that unsupported ones can be refused."""

    # Its names for the fields of a chat's request, which errors name.
    own_names: ClassVar[dict[str, str]] = {}

    model_config = ConfigDict(extra="allow", strict=True)
    model: str | None = None
    stream: bool | None = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(gt=0, le=1)] = None
    num_frames: int | None = None
    start: Time = None
    end: Time = None
    media_io_kwargs: MediaOptions | None = None
    longva: LongvaOptions = LongvaOptions()

    @property
    def placed_messages(self) -> list[tuple[str, Message]]:
        """The messages, each with its place in the request."""
        raise NotImplementedError

    @property
    def longest(self) -> tuple[str, int | None]:
        """The maximum length of the answer in tokens, after the field's name. None and -1 are the default."""
        raise NotImplementedError

    @property
    def stops(self) -> list[str]:
        """Texts that end the answer."""
        return []

    @property
    def json_schema(self) -> str:
        """The schema that the answer has to follow, as JSON; "" for plain text."""
        raise NotImplementedError

    @property
    def budget(self) -> int | None:
        """The number of frames that is asked for, in one of two places."""
        from_vllm = self.media_io_kwargs.video.num_frames if self.media_io_kwargs else None
        return from_vllm if self.num_frames is None else self.num_frames

    def sampling(self, default_longest: int) -> Sampling:
        """Raises ApiError if the length is 0. One that is more than the model may write is shortened."""
        name, longest = self.longest
        if longest is None or longest == -1:
            longest = default_longest
        if longest < 1:
            raise ApiError(f"{name} is {longest}; use 1 to {MAX_NEW_TOKENS:,}, or -1 for the default", name)
        temperature = 0.0 if self.temperature is None else self.temperature
        top_p = 1.0 if self.top_p is None else self.top_p
        return Sampling(temperature, top_p, min(longest, MAX_NEW_TOKENS), self.json_schema)

    def check_supported(self) -> None:
        """Raises ApiError if a field asks for what there is not."""
        for name, reason in UNSUPPORTED.items():
            if (self.model_extra or {}).get(name):
                raise ApiError(f"{name} is not supported: {reason}", name, "unsupported_parameter")


class Schema(BaseModel):
    value: dict[str, Any] = Field(alias="schema")


class Format(BaseModel):
    """The form of an answer. The schema is inside `json_schema`, or beside the type in a response's request."""

    model_config = ConfigDict(extra="allow")
    type: Literal["text", "json_object", "json_schema"]
    json_schema: Schema | None = None
    value: dict[str, Any] | None = Field(None, alias="schema")

    @model_validator(mode="after")
    def _check_schema(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None and self.value is None:
            raise ValueError("the schema is missing")
        return self

    @property
    def schema_text(self) -> str:
        if self.type != "json_schema":
            return "" if self.type == "text" else ANY_OBJECT
        return json.dumps(self.json_schema.value if self.json_schema is not None else self.value)


class ChatRequest(Request):
    """POST /v1/chat/completions"""

    messages: Annotated[list[Message], Field(min_length=1)]
    stream_options: StreamOptions | None = None
    return_progress: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    response_format: Format | None = None
    n: int | None = None
    stop: Annotated[
        list[Annotated[str, Field(max_length=MAX_STOP_CHARACTERS)]],
        BeforeValidator(list_of_texts),
        Field(max_length=MAX_STOPS),
    ] = []

    @property
    def placed_messages(self) -> list[tuple[str, Message]]:
        return [(f"messages[{number}]", message) for number, message in enumerate(self.messages)]

    @property
    def longest(self) -> tuple[str, int | None]:
        if self.max_completion_tokens is not None:
            return "max_completion_tokens", self.max_completion_tokens
        return "max_tokens", self.max_tokens

    @property
    def json_schema(self) -> str:
        return self.response_format.schema_text if self.response_format is not None else ""

    @property
    def stops(self) -> list[str]:
        return [text for text in self.stop if text]

    def check_supported(self) -> None:
        super().check_supported()
        if self.n not in (None, 1):
            raise ApiError("n is not 1: one answer at a time", "n", "unsupported_value")


class TextOptions(BaseModel):
    format: Format | None = None


class ResponsesRequest(Request):
    """POST /v1/responses"""

    own_names = {"messages": "input", "response_format": "text.format"}

    input: Annotated[list[Message], BeforeValidator(list_of_messages), Field(min_length=1)]
    max_output_tokens: int | None = None
    text: TextOptions | None = None

    @property
    def placed_messages(self) -> list[tuple[str, Message]]:
        placed = [(f"input[{number}]", message) for number, message in enumerate(self.input)]
        for place, message in placed:
            if message.type not in (None, "message", "reasoning"):
                raise ApiError(f"an item of type {short(message.type)} is not supported; send messages", place)
        return [(place, message) for place, message in placed if message.type != "reasoning"]

    @property
    def longest(self) -> tuple[str, int | None]:
        return "max_output_tokens", self.max_output_tokens

    @property
    def json_schema(self) -> str:
        return self.text.format.schema_text if self.text is not None and self.text.format is not None else ""


Kind = TypeVar("Kind", bound=Request)


def parse(kind: type[Kind], body: bytes) -> Kind:
    """Read and check a request.

    Raises:
        ApiError: it is not JSON, a field is not valid, or one asks for what there is not.
    """
    try:
        request = kind.model_validate_json(body)
    except ValidationError as error:
        raise first_problem(error) from None
    request.check_supported()
    return request


def first_problem(error: ValidationError) -> ApiError:
    """The first problem, with the path of the field: messages[0].content[1].data."""
    problem = error.errors(include_url=False)[0]
    if problem["type"] == "json_invalid":
        return ApiError(f"the body is not valid JSON ({one_line(problem['ctx']['error'])})")
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in problem["loc"])
    path = one_line(path.removeprefix("."))[:MAX_PATH_CHARACTERS]
    if problem["type"].startswith("union_tag"):
        tag = problem.get("ctx", {}).get("tag")
        kind = "without a type" if tag is None else f"of type {short(tag)}"
        kinds = "use text, image_url, video_url, input_video or file"
        return ApiError(f"a content part {kind} is not supported; {kinds}", path)
    if problem["type"] == "missing":
        return ApiError(f"{path} is missing", path, "missing_required_parameter")
    message = problem["msg"].removeprefix("Value error, ").replace(" after validation", "")
    return ApiError(one_line(f"{path or 'the body'} is not valid ({message})")[:MAX_MESSAGE_CHARACTERS], path or None)
