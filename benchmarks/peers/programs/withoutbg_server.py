"""withoutBG's SDK behind FastAPI; the network is loaded before the server listens.

python withoutbg_server.py PORT
"""

import io
import sys

import uvicorn
from fastapi import FastAPI, File, Response, UploadFile
from withoutbg import WithoutBG

app = FastAPI()
model = WithoutBG.open_weights()
model.preload()


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/{operation}")
def remove(operation: str, file: UploadFile = File()) -> Response:  # noqa: B008 - FastAPI's usual form
    cutout = model.remove_background(file.file.read())
    encoded = io.BytesIO()
    (cutout.getchannel("A") if operation == "mask" else cutout).save(encoded, "PNG")
    return Response(encoded.getvalue(), media_type="image/png")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
