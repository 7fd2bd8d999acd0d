"""The privacyIDEA authenticator app of one person: fetches what its token is asked, and answers as it is told.

One order a line on standard input, one answer a line. {"do": "wait"}: the next question, in full, once there is one.
{"do": "answer", "question": …, "how": "approve" | "decline", "press": "45"}: whether the server took it.
{"do": "open"}: how many questions are open.
"""
import base64
import datetime
import json
import sys
import time
import urllib.parse
import urllib.request

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding


class Phone:
    def __init__(self, order):
        self.url = order["url"] + "/ttype/push"
        self.serial = order["serial"]
        with open(order["key"], "rb") as key:
            self.key = serialization.load_pem_private_key(key.read(), None)
        self.http = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def sign(self, text):
        signature = self.key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return base64.b32encode(signature).decode()

    def value(self, url, form=None):
        with self.http.open(url, form, timeout=10) as reply:
            return json.load(reply)["result"]["value"]

    def questions(self):
        now = datetime.datetime.now(datetime.timezone.utc).isoformat()
        asked = {"serial": self.serial, "timestamp": now, "signature": self.sign(f"{self.serial}|{now}")}
        return self.value(f"{self.url}?{urllib.parse.urlencode(asked)}")

    def wait(self):
        for _ in range(400):
            found = self.questions()
            if found:
                return found[-1]
            time.sleep(0.1)
        raise SystemExit("nothing is asked")

    def answer(self, question, how, press=None):
        signed = f"{question['nonce']}|{self.serial}"
        said = {"serial": self.serial, "nonce": question["nonce"]}
        if how == "decline":
            signed += "|decline"
            said["decline"] = 1
        if press:
            signed += f"|{press}"
            said["presence_answer"] = press
        said["signature"] = self.sign(signed)
        return self.value(self.url, urllib.parse.urlencode(said).encode())


def main():
    phone = Phone(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "wait":
            told = phone.wait()
        elif order["do"] == "open":
            told = len(phone.questions())
        else:
            told = phone.answer(order["question"], order["how"], order.get("press"))
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
