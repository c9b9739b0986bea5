"""An agent that knows nothing of Switchboard: a plain HTTP server. The sidecar posts each message to it.

python examples/http-agent/server.py &
switchboard dev --http translator=8000
switchboard send translator "good morning"
"""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = {"good": "guten", "morning": "Morgen", "evening": "Abend", "day": "Tag", "night": "Nacht", "thanks": "danke"}


class Translator(BaseHTTPRequestHandler):
    """POST anything: the text comes back in German, word by word."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        answer = " ".join(WORDS.get(word, word) for word in text.lower().split()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8000"))
    ThreadingHTTPServer(("127.0.0.1", port), Translator).serve_forever()
