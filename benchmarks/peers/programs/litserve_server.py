"""LitServe: one API with decode, predict and encode, batching up to 8 pictures for up to 10 ms.

python litserve_server.py WEIGHTS PORT
"""

import sys

import litserve
from fastapi import Request, Response
from u2net import network_input, open_session, read_picture, render, run


class BackgroundRemoval(litserve.LitAPI):
    """The hooks that LitServe calls, in their order."""

    def setup(self, device):  # noqa: ARG002 - the hook's signature
        self.session = open_session(sys.argv[1])

    def decode_request(self, request: Request):
        picture = read_picture(request["file"].file.read())
        return picture, network_input(picture), request["operation"]

    def batch(self, inputs):
        return inputs

    def predict(self, batch):
        maps = run(self.session, [tensor for _, tensor, _ in batch])
        return [
            (picture, saliency, operation)
            for (picture, _, operation), saliency in zip(batch, maps, strict=True)
        ]

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        return Response(render(*output), media_type="image/png")


if __name__ == "__main__":
    api = BackgroundRemoval(max_batch_size=8, batch_timeout=0.01)
    server = litserve.LitServer(api, accelerator="cpu", timeout=300)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
