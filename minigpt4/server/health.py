"""Whether the process lives, and whether it can answer: for load balancers and containers."""

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from minigpt4.ui.worker import ModelWorker

LOADING_SECONDS = 5


def health_routes(worker: ModelWorker) -> list[BaseRoute]:
    """Build `/healthz` and `/readyz`.

    `/healthz` answers 200 as long as the process does: what fails it should be restarted.
    `/readyz` answers 200 once the model is loaded and 503 before, or if it could not be loaded.
    """

    async def healthz(_request: Request) -> JSONResponse:
        return JSONResponse({"status": "alive"})

    async def readyz(_request: Request) -> JSONResponse:
        state = worker.load_state
        if state == "ready":
            return JSONResponse({"status": state})
        headers = {"Retry-After": str(LOADING_SECONDS)} if state == "loading" else {}
        return JSONResponse({"status": state}, 503, headers)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]
