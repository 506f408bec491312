# SPDX-License-Identifier: Apache-2.0
"""
Who guests talk to: peer.py ADDRESS [FOLDER]. TCP and UDP 7000 echo "you said TEXT", HTTP 8000 tells how it was reached, HTTPS 8443 (with
FOLDER/server.crt and .key) the same, DNS 53 answers for *.example. "ready" on standard output when all of it listens.
"""
import asyncio, http.server, socket, ssl, struct, sys, threading

ADDRESS, FOLDER = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
NAMES = {"known": ["10.66.0.2"], "also": ["10.66.0.2"], "tls": ["10.66.0.2"], "host": ["10.66.0.1"], "local": ["127.0.0.1"],
         "link": ["169.254.1.1"], "six": ["fd66::2"], "both": ["127.0.0.1", "10.66.0.2"]}
asked = {}


def addresses(name):
    """rebind.example is somebody else from the second question on."""
    asked[name] = asked.get(name, 0) + 1
    if name == "rebind":
        return ["10.66.0.2"] if asked[name] == 1 else ["127.0.0.1"]
    return NAMES.get(name, [])


def dns_answer(question):
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1:at + 1 + question[at]].decode())
        at += 1 + question[at]
    kind = struct.unpack(">H", question[at + 1:at + 3])[0]
    known = labels[0].lower() in {*NAMES, "rebind"}
    family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
    found = [a for a in (addresses(labels[0].lower()) if kind == 1 or labels[0] == "six" else []) if (":" in a) == (kind == 28)]
    head = question[:2] + struct.pack(">HHHHH", 0x8180 if known else 0x8183, 1, len(found), 0, 0)
    records = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, 4 if kind == 1 else 16) + socket.inet_pton(family, a) for a in found)
    return head + question[12:at + 5] + records


class Udp(asyncio.DatagramProtocol):
    def __init__(self, answer):
        self.answer = answer

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, sender):
        self.transport.sendto(self.answer(data), sender)


class Http(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        while self.headers.get("Transfer-Encoding") == "chunked" and (size := int(self.rfile.readline(), 16)) + len(self.rfile.read(0)) >= 0:
            body += self.rfile.read(size)
            self.rfile.readline()
            if size == 0:
                break
        text = f"asked {asked}" if self.path == "/asked" else \
            f"{self.command} {self.path} at {self.connection.getsockname()[0].removeprefix('::ffff:')} as {self.headers['Host']} {body.decode()}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    do_POST = do_GET

    def log_message(self, *_):
        pass


def serve_http(port, tls):
    server = http.server.ThreadingHTTPServer((ADDRESS, port), Http, bind_and_activate=False)
    server.address_family = socket.AF_INET6 if ":" in ADDRESS else socket.AF_INET
    server.socket.close()
    server.socket = socket.socket(server.address_family)
    server.server_bind()
    server.server_activate()
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(FOLDER + "/server.crt", FOLDER + "/server.key")
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()


async def echo(reader, writer):
    writer.write(b"you said " + await reader.read())
    writer.close()


async def main():
    loop = asyncio.get_running_loop()
    serve_http(8000, False)
    if FOLDER:
        serve_http(8443, True)
    await asyncio.start_server(echo, ADDRESS, 7000)
    for port, answer in ((7000, lambda data: b"you said " + data), (53, dns_answer)):
        await loop.create_datagram_endpoint(lambda: Udp(answer), local_addr=(ADDRESS, port))
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
