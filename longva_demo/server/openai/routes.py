"""The routes of the API."""

from collections.abc import Callable, Generator
from contextlib import ExitStack
from typing import Any, TypeVar

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from longva_demo.chat import Engine
from longva_demo.server.conversations import Conversations, Stopping
from longva_demo.server.openai.bodies import FILES
from longva_demo.server.openai.chat import ChatReply
from longva_demo.server.openai.conversation import Reader, check_model
from longva_demo.server.openai.delivery import Delivery, Reply
from longva_demo.server.openai.errors import ApiError, api_error
from longva_demo.server.openai.files import ReceivedFiles
from longva_demo.server.openai.responses import ResponseReply
from longva_demo.server.openai.schema import ChatRequest, Request, ResponsesRequest, parse
from longva_demo.server.openai.stops import StopTexts
from longva_demo.server.rate_limit import CALLER, address_name
from longva_demo.server.running import Event, RunningAnswer
from longva_demo.settings import Settings

POSTS = ("/v1/chat/completions", "/v1/responses")
MODALITIES = ["text", "image", "video"]
AnyRequest = TypeVar("AnyRequest", bound=Request)


class OpenAiApi:
    """The API of one server. `received` are the files that its clients have sent."""

    def __init__(
        self, engine: Engine, settings: Settings, conversations: Conversations, received: ReceivedFiles
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._conversations = conversations
        self._reader = Reader(engine, settings, received, conversations.files_in_use.using)

    @property
    def routes(self) -> list[Route]:
        chat, responses = POSTS
        return [
            Route("/v1/models", self.list_models),
            Route("/v1/models/{name:path}", self.show_model),
            Route(chat, self.complete, methods=["POST"]),
            Route(responses, self.respond, methods=["POST"]),
            Route("/v1/{rest:path}", self.refuse, methods=["GET", "POST", "PUT", "DELETE"]),
        ]

    async def list_models(self, _request: HttpRequest) -> Response:
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def show_model(self, request: HttpRequest) -> Response:
        try:
            check_model(request.path_params["name"], self._engine.model.id)
        except ApiError as error:
            return error.response
        return JSONResponse(self._card())

    async def complete(self, request: HttpRequest) -> Response:
        return await self._answer(request, ChatRequest, ChatReply)

    async def respond(self, request: HttpRequest) -> Response:
        return await self._answer(request, ResponsesRequest, ResponseReply)

    async def refuse(self, request: HttpRequest) -> Response:
        paths = f"/v1/models, {POSTS[0]} and {POSTS[1]}"
        return ApiError(
            f"there is no {request.method} for this path; use {paths}", code="not_found", status=404
        ).response

    async def _answer(
        self, http: HttpRequest, kind: type[AnyRequest], make_reply: Callable[[AnyRequest, str], Reply]
    ) -> Response:
        try:
            request = parse(kind, await http.body())
            reply = make_reply(request, self._engine.model.id)
            CALLER.set((address_name(http.scope),))
            arrived = http.scope.get(FILES, {})

            def answer(stopping: Stopping) -> Generator[Event]:
                with ExitStack() as in_use:
                    question = self._reader.read(request, arrived, in_use)
                    yield from self._conversations.answer(question, stopping, "openai")

            delivery = Delivery(http, RunningAnswer(answer), reply, StopTexts(request.stops))
            return await (delivery.stream() if request.stream else delivery.whole())
        except Exception as error:
            refused = api_error(error)
            refused.param = kind.own_names.get(refused.param or "", refused.param)
            return refused.response

    def _card(self) -> dict[str, Any]:
        meter = self._engine.meter(1)
        return {
            "id": self._engine.model.id,
            "object": "model",
            "created": 0,
            "owned_by": "longva-demo",
            "max_model_len": meter.context_length,
            "largest_num_frames": min(meter.largest_budget, self._settings.max_frames),
            "architecture": {"input_modalities": MODALITIES, "output_modalities": ["text"]},
        }
