# SPDX-License-Identifier: Apache-2.0
"""A wasi:http component in Python: answers with what it was asked, as JSON."""
import json
from wit_world import exports
from wit_world.types import Ok
from wit_world.imports.types import Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        response = OutgoingResponse(Fields.from_list([("content-type", b"application/json")]))
        body = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        text = json.dumps({"language": "Python", "path": request.path_with_query()}) + "\n"
        with body.write() as stream:
            stream.blocking_write_and_flush(text.encode())
        OutgoingBody.finish(body, None)
