"""The obvious server: FastAPI with `def` routes, which run in its pool of threads.

python fastapi_server.py WEIGHTS PORT
"""

import sys

import uvicorn
from fastapi import FastAPI, File, Response, UploadFile
from u2net import open_session, remove_background

app = FastAPI()
session = open_session(sys.argv[1])


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/{operation}")
def remove(operation: str, file: UploadFile = File()) -> Response:  # noqa: B008 - FastAPI's usual form
    return Response(remove_background(session, file.file.read(), operation), media_type="image/png")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
