"""Takes pushes, and keeps them: a file for each notification.

    pip install -r requirements.txt
    TIDINGS_SECRET=whsec_… python receiver.py archive 9090

An answer of 204 says that the notification is safe here. Whatever isn't signed with the tenant's secret gets 401.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from standardwebhooks import Webhook, WebhookVerificationError

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
webhook = Webhook(os.environ["TIDINGS_SECRET"])


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            notification = webhook.verify(body, dict(self.headers))["data"]
        except (WebhookVerificationError, ValueError):
            return self.answer(401)
        # A test of the settings comes with the id 0.
        if notification["id"] != "0":
            with open(folder / f"{notification['id']}.json", "w") as file:
                json.dump(notification, file)
                file.flush()
                os.fsync(file.fileno())
        self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Receiver).serve_forever()
