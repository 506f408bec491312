# SPDX-License-Identifier: Apache-2.0
"""A proxy of HTTP: CONNECT, and requests in absolute form. Names go where its table says, for nobody else knows them."""
import re, socket, threading


class Proxy:
    def __init__(self, names, login=None):
        self.names, self.login, self.log = names, login, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                got = client.recv(65536)
                if not got:
                    return
                head += got
            self.log.append(head.decode("latin-1"))
            if self.login and f"Proxy-Authorization: Basic {self.login}" not in self.log[-1]:
                client.sendall(b"HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n")
                return
            self.forward(client, head)
        except OSError:
            pass
        finally:
            client.close()

    def forward(self, client, head):
        method, target, _ = head.split(b"\r\n", 1)[0].split(b" ")
        place = re.match(rb"(?:http://)?([^/:]+)(?::(\d+))?", target)
        server = socket.create_connection((self.names[place[1].decode()], int(place[2] or 80)))
        if method == b"CONNECT":
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else: # one request a connection is enough
            head = head.replace(target, re.sub(rb"^http://[^/]+", b"", target), 1)
            server.sendall(re.sub(rb"\r\nProxy-[^\r]*", b"", head).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        back = threading.Thread(target=self.copy, args=(server, client), daemon=True)
        back.start()
        self.copy(client, server)
        back.join()

    @staticmethod
    def copy(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        for s in (source, target):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()
