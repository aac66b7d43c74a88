"""How a route that raises is answered: as JSON {"error", "detail", "body", "errors"}."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse

from modules import errors


async def answer_errors(request: Request, call_next: Any) -> Any:
    """The answer to `request`; an exception may carry its own `status_code` and `detail`."""
    try:
        return await call_next(request)
    except Exception as e:  # noqa: BLE001
        said = {"detail": "", "body": "", **vars(e), "error": type(e).__name__, "errors": str(e)}
        errors.report(f"API error: {request.method}: {request.url} {said}", exc_info=True)
        return JSONResponse(status_code=said.pop("status_code", 500), content=jsonable_encoder(said))
