"""A request that is turned away before Gradio or FastAPI see it."""

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from minigpt4.server.guards_routes import speaks_openai
from minigpt4.server.openai_errors import Refusal


class RefusedError(Exception):
    """Ends a request while its body is being read.

    Attributes:
        status: HTTP status.
        message: One plain sentence or two, without a path of the server.
        retry_after: Seconds after which the same request may succeed; None if it will not.
        code: A short name that does not change between versions.
    """

    def __init__(
        self, status: int, message: str, code: str, retry_after: int | None = None
    ) -> None:
        super().__init__(status, message, code, retry_after)
        self.status = status
        self.message = message
        self.code = code
        self.retry_after = retry_after

    def response(self, path: str) -> Response:
        """Write it down as the client at this path reads it.

        The connection closes: what the client still sends is not read.
        """
        response: Response
        if speaks_openai(path):
            kind = "server_error" if self.status >= 500 else "invalid_request_error"
            response = Refusal(
                self.status, self.message, kind, None, self.code, self.retry_after
            ).response()
        else:
            response = JSONResponse({"detail": self.message}, self.status)
            if self.retry_after is not None:
                response.headers["Retry-After"] = str(self.retry_after)
        response.headers["Connection"] = "close"
        return response

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await self.response(scope["path"])(scope, receive, send)
