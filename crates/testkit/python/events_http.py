# Sends CloudEvents to a daemon's socket as the official SDK makes them, and reads what was published with the same SDK.
# Arguments: send SOCKET, which prints an answer's status a line; or read, which reads events from standard input, a line
# each, and prints the id and the data of each.
import base64, http.client, json, socket, sys

from cloudevents.core.bindings.http import HTTPMessage, from_structured, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent


class Dispatchd(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[2])


def event(id, data, **attributes):
    attributes = {"id": id, "source": "/orders", "type": "placed", "specversion": "1.0", **attributes}
    return CloudEvent(attributes=attributes, data=data)


def send():
    connection = Dispatchd("localhost")
    for to_http, mode in ((to_binary, "binary"), (to_structured, "structured")):
        for made in (
            event(f"py-{mode}-json", {"n": 1.5, "text": "\u00e9"}, subject="customer 9 \u20ac", partitionkey="100%"),
            event(f"py-{mode}-typed", [1, 2], datacontenttype="application/json"),
            event(f"py-{mode}-bytes", b"\x00\xff", datacontenttype="application/octet-stream"),
        ):
            message = to_http(made, JSONFormat())
            connection.request("POST", "/v1/events", message.body, message.headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
            print(response.status, answer.get("id"))


def read():
    for line in sys.stdin:
        message = HTTPMessage({"content-type": "application/cloudevents+json"}, line.encode())
        read = from_structured(message, JSONFormat())
        data = read.get_data()
        if isinstance(data, bytes):
            data = "base64 " + base64.b64encode(data).decode()
        print(json.dumps([read.get_id(), data]))


send() if sys.argv[1] == "send" else read()
