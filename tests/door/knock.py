"""An SSH client that says what a test tells it to, in the order it is told, allowed or not; replies come back as JSON.
Absent on purpose: the login rules of a well-behaved client. paramiko brings the key exchange and the channels."""

import base64
import contextlib
import functools
import io
import json
import queue
import socket
import sys
import threading
import time

import paramiko
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from paramiko.message import Message

FAILURE, SUCCESS, BANNER, INFO, RESPONSE = 51, 52, 53, 60, 61
GONE = 1


@functools.cache
def private_key(path):
    return paramiko.PKey.from_path(path)


class Heard:
    """Stands where paramiko's AuthHandler stands, and only listens."""

    def __init__(self):
        self.queue = queue.Queue()
        self.inside = False
        numbers = (6, FAILURE, SUCCESS, BANNER, INFO)
        self._handler_table = {number: self.noting(number) for number in numbers}

    def noting(self, number):
        def note(message):
            if number == SUCCESS:
                self.inside = True
            self.queue.put((number, message))

        return note

    def is_authenticated(self):
        return self.inside

    def abort(self):
        self.queue.put((GONE, None))


class Line(paramiko.Transport):
    goodbye = None

    def _parse_disconnect(self, message):
        code = message.get_int()
        self.goodbye = f"{code}: {message.get_text()}"


class Knocker:
    def __init__(self, port):
        self.line = Line(socket.create_connection(("127.0.0.1", port)))
        self.line.start_client(timeout=30)
        self.heard = self.line.auth_handler = Heard()
        request = Message()
        request.add_byte(b"\x05")
        request.add_string("ssh-userauth")
        self.say(request)

    def say(self, message, probe=False):
        begin = time.monotonic()
        try:
            self.line._send_message(message)
        except (EOFError, OSError):
            pass
        while True:
            try:
                number, reply = self.heard.queue.get(timeout=15)
            except queue.Empty:
                return {"reply": "silence"}
            if number == BANNER:
                continue
            told = {"ms": int((time.monotonic() - begin) * 1000)}
            if number == FAILURE:
                told |= {"reply": "failure", "methods": reply.get_text(), "partial": reply.get_boolean()}
            elif number == SUCCESS:
                told |= {"reply": "success"}
            elif number == INFO and probe:
                told |= {"reply": "worth signing"}
            elif number == INFO:
                reply.get_text()
                text = reply.get_text()
                reply.get_text()
                prompts = [(reply.get_text(), reply.get_boolean()) for _ in range(reply.get_int())]
                told |= {"reply": "question", "text": text, "prompts": [p for p, _ in prompts]}
            elif number == GONE:
                self.line.join(5)
                self.heard.abort()
                told |= {"reply": "gone", "goodbye": self.line.goodbye}
            else:
                told |= {"reply": "accepted"}
            return told

    def request(self, user, method):
        message = Message()
        message.add_byte(b"\x32")
        message.add_string(user.encode())
        message.add_string("ssh-connection")
        message.add_string(method)
        return message

    def none(self, user):
        return self.say(self.request(user, "none"))

    def password(self, user, password):
        message = self.request(user, "password")
        message.add_boolean(False)
        message.add_string(password)
        return self.say(message)

    def key(self, path, algorithm):
        """The public key, and the algorithm to sign with."""
        with open(path + ".pub") as file:
            name, blob = file.read().split()[:2]
        return base64.b64decode(blob), algorithm or ("rsa-sha2-512" if name == "ssh-rsa" else name)

    def probe(self, user, path, algorithm=None):
        key, algorithm = self.key(path, algorithm)
        message = self.request(user, "publickey")
        message.add_boolean(False)
        message.add_string(algorithm)
        message.add_string(key)
        return self.say(message, probe=True)

    def sign(self, user, path, algorithm=None, by=None):
        """`by`: the key that really signs."""
        key, algorithm = self.key(path, algorithm)
        signer = private_key(by or path)
        message = self.request(user, "publickey")
        message.add_boolean(True)
        message.add_string(algorithm)
        message.add_string(key)
        signed = Message()
        signed.add_string(self.line.session_id)
        data = signed.asbytes() + message.asbytes()
        if signer.get_name() == "ssh-rsa":
            kind = {"ssh-rsa": hashes.SHA1, "rsa-sha2-256": hashes.SHA256}.get(algorithm, hashes.SHA512)
            signature = Message()
            signature.add_string(algorithm)
            signature.add_string(signer.key.sign(data, padding.PKCS1v15(), kind()))
        else:
            signature = signer.sign_ssh_data(data, None)
        message.add_string(signature.asbytes())
        return self.say(message)

    def interactive(self, user):
        message = self.request(user, "keyboard-interactive")
        message.add_string("")
        message.add_string("")
        return self.say(message)

    def answer(self, *answers):
        message = Message()
        message.add_byte(b"\x3d")
        message.add_int(len(answers))
        for answer in answers:
            message.add_string(answer)
        return self.say(message)

    def push(self, user):
        told = self.interactive(user)
        shown = told.get("text", "")
        while told["reply"] == "question":
            told = self.answer()
        return told | {"text": shown}

    def channel(self, ask):
        channel = self.line.open_session(timeout=30)
        ask(channel)
        out, err = channel.makefile("rb"), channel.makefile_stderr("rb")
        told = {"stdout": out.read().decode(), "stderr": err.read().decode()}
        told["code"] = channel.recv_exit_status()
        channel.close()
        return told

    def run(self, command, base64_encoded=False):
        command = base64.b64decode(command) if base64_encoded else command
        return self.channel(lambda channel: channel.exec_command(command))

    def order(self, command):
        """Asks for a command and does not wait for anything, not even whether it is taken."""
        channel = self.line.open_session(timeout=30)
        message = Message()
        message.add_byte(b"\x62")
        message.add_int(channel.remote_chanid)
        message.add_string("exec")
        message.add_boolean(False)
        message.add_string(command)
        self.line._send_user_message(message)

    def subsystem(self, name):
        return self.channel(lambda channel: channel.invoke_subsystem(name))

    def shell(self):
        return self.channel(lambda channel: channel.invoke_shell())

    def sessions(self, count):
        """Opens as many session channels and keeps them."""
        kept, told = [], []
        for _ in range(count):
            try:
                kept.append(self.line.open_session(timeout=30))
                told.append("open")
            except paramiko.ChannelException as refused:
                told.append(refused.text)
        self.kept = kept
        return told

    def forward(self, host, port):
        try:
            self.line.open_channel("direct-tcpip", (host, port), ("127.0.0.1", 1), timeout=30)
            return "open"
        except paramiko.ChannelException as refused:
            return refused.text

    def close(self):
        self.line.close()


class Heeding(paramiko.auth_handler.AuthOnlyHandler):
    """paramiko 5.1 sends first and makes the event it waits for then: an answer that is quicker is missed. Not here."""

    once = None
    auth_event = property(lambda self: self.once, lambda self, _: None)

    def send_auth_request(self, *arguments):
        self.once = threading.Event()
        return super().send_auth_request(*arguments)


class Asking(paramiko.ServiceRequestingTransport):
    """Its usual transport asks for the service again before each method; this one does once."""

    def get_auth_handler(self):
        return Heeding(self)


def client(port, user, key, command, disabled=None, types=None):
    """paramiko as people use it; with `types` it does keyboard-interactive too, and types these lines."""
    ssh = paramiko.SSHClient()
    ssh.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    shown, more = io.StringIO(), {}
    if types is not None:
        more["transport_factory"] = Asking
        # paramiko prints what is shown and reads what is typed, as input() does.
        sys.stdin = io.StringIO("".join(line + "\n" for line in types))
    try:
        with contextlib.redirect_stdout(shown):
            ssh.connect(
                "127.0.0.1",
                port,
                user,
                key_filename=key,
                allow_agent=False,
                look_for_keys=False,
                auth_timeout=60,
                disabled_algorithms=disabled,
                **more,
            )
    except Exception as refused:
        return {"error": f"{type(refused).__name__}: {refused}", "shown": shown.getvalue()}
    _, out, err = ssh.exec_command(command)
    told = {"stdout": out.read().decode(), "stderr": err.read().decode(), "shown": shown.getvalue()}
    told["code"] = out.channel.recv_exit_status()
    ssh.close()
    return told


def main():
    order = json.load(sys.stdin)
    if "client" in order:
        json.dump(client(order["port"], **order["client"]), sys.stdout)
        return
    told = []
    for steps in order["connections"]:
        knocker = Knocker(order["port"])
        told.append([getattr(knocker, name)(*arguments) for name, *arguments in steps])
        knocker.close()
    json.dump(told, sys.stdout)


main()
