"""A technician's client of two layers, spelled out: paramiko to the gateway, paramiko again over its direct-tcpip channel.

Reads an order from standard input, prints what happened as JSON. The key is held by the gateway until the phone answers.
"""
import json
import socket
import sys
import time

import paramiko
from paramiko.message import Message


def key_of(path):
    return paramiko.Ed25519Key.from_private_key_file(path)


def outer(order):
    sock = socket.create_connection(("127.0.0.1", order["port"]))
    transport = paramiko.Transport(sock)
    transport.start_client(timeout=30)
    transport.auth_timeout = 60
    transport.auth_publickey(order["user"], key_of(order["key"]))
    return transport


def inner(transport, order):
    host, port = order.get("host", "backup.praxis-mueller.example"), order.get("host_port", 22)
    chan = transport.open_channel("direct-tcpip", (host, port), ("127.0.0.1", 1), timeout=30)
    second = paramiko.Transport(chan)
    second.start_client(timeout=30)
    second.auth_timeout = 60
    return second


def request(chan, kind, want_reply, *fields):
    """A channel request that paramiko has no call for."""
    m = Message()
    m.add_byte(bytes([98]))
    m.add_int(chan.remote_chanid)
    m.add_string(kind)
    m.add_boolean(want_reply)
    for f in fields:
        if isinstance(f, bool):
            m.add_boolean(f)
        elif isinstance(f, int):
            m.add_int(f)
        else:
            m.add_string(f)
    if want_reply:
        chan._event_pending()
    chan.transport._send_user_message(m)
    if want_reply:
        chan._wait_for_event()


def drain(chan):
    out, err = b"", b""
    chan.settimeout(30)
    while True:
        if chan.recv_stderr_ready():
            err += chan.recv_stderr(65536)
        elif chan.recv_ready():
            out += chan.recv(65536)
        elif chan.exit_status_ready() or chan.closed or chan.eof_received:
            if not chan.recv_ready() and not chan.recv_stderr_ready():
                break
        else:
            time.sleep(0.01)
    return out.decode(errors="replace"), err.decode(errors="replace"), chan.recv_exit_status()


def attempt(what):
    try:
        return {"ok": what()}
    except Exception as e:
        return {"error": f"{type(e).__name__}: {e}"}


def steps(order):
    first = outer(order)
    done = []
    second = None
    for step in order["steps"]:
        kind = step[0]
        if kind == "login":
            def login():
                nonlocal second
                second = inner(first, order)
                second.auth_publickey(step[1], key_of(step[2]))
                return second.is_authenticated()
            done.append(attempt(login))
        elif kind == "password":
            def password():
                nonlocal second
                second = inner(first, order)
                second.auth_password(step[1], "geheim")
                return second.is_authenticated()
            done.append(attempt(password))
        elif kind == "channel-without-login":
            def without():
                inner(first, order).open_session(timeout=10)
                return "open"
            done.append(attempt(without))
        elif kind == "open":
            def opened():
                chan = first.open_channel("direct-tcpip", (step[1], step[2]), ("127.0.0.1", 1), timeout=15)
                chan.close()
                return "open"
            done.append(attempt(opened))
        elif kind == "run":
            def run():
                chan = second.open_session(timeout=15)
                chan.exec_command(step[1])
                return drain(chan)
            done.append(attempt(run))
        elif kind == "requests":
            # Odd requests first, then a command that shows the session lives.
            def odd():
                chan = second.open_session(timeout=15)
                answers = []
                for r in step[1]:
                    answers.append(attempt(lambda: request(chan, r[0], r[1], *r[2:])) and None)
                    if chan.closed:
                        break
                chan.exec_command(step[2])
                return drain(chan)
            done.append(attempt(odd))
        elif kind == "signal":
            def signal():
                chan = second.open_session(timeout=15)
                chan.exec_command(step[1])
                chan.settimeout(15)
                chan.recv(6)
                request(chan, "signal", False, step[2])
                return drain(chan)
            done.append(attempt(signal))
        elif kind == "modes":
            def modes():
                chan = second.open_session(timeout=15)
                text = b"".join(bytes([1 + n % 150]) + b"\0\0\0\1" for n in range(step[1])) + b"\0"
                request(chan, "pty-req", False, "xterm", 80, 24, 0, 0, text)
                chan.exec_command("echo modes")
                return drain(chan)
            done.append(attempt(modes))
        elif kind == "sftp-on-terminal":
            # A terminal that changes no byte, and SFTP over it.
            def sftp():
                chan = second.open_session(timeout=15)
                off = b"".join(bytes([mode]) + b"\0\0\0\0" for mode in (33, 34, 35, 36, 38, 39, 50, 51, 53, 59, 70))
                request(chan, "pty-req", True, "xterm", 80, 24, 0, 0, off + b"\0")
                if step[1] == "subsystem":
                    chan.invoke_subsystem("sftp")
                else:
                    chan.exec_command(step[1])
                client = paramiko.SFTPClient(chan)
                with client.open(step[2], "w") as file:
                    file.write(step[3])
                client.close()
                return "written"
            done.append(attempt(sftp))
        elif kind == "shell":
            # Bytes into a shell without a terminal, then its end or so much more than its window.
            def shell():
                chan = second.open_session(timeout=15)
                chan.invoke_shell()
                chan.sendall(step[1].encode("latin-1"))
                if len(step) > 2:
                    time.sleep(0.5)
                    chan.out_window_size = 1 << 30
                    for _ in range(step[2]):
                        chan.sendall(b"x" * 32768)
                else:
                    chan.shutdown_write()
                return drain(chan)
            done.append(attempt(shell))
        elif kind == "x11":
            def x11():
                chan = second.open_session(timeout=15)
                attempt(lambda: chan.request_x11())
                return drain(second.open_session(timeout=15)) if False else "asked"
            done.append(attempt(x11))
        elif kind == "reverse":
            done.append(attempt(lambda: second.request_port_forward("127.0.0.1", 0)))
        elif kind == "forward":
            def forward():
                chan = second.open_channel("direct-tcpip", (step[1], step[2]), ("127.0.0.1", 1), timeout=15)
                chan.sendall(b"hello")
                chan.shutdown_write()
                got = b""
                chan.settimeout(15)
                while True:
                    part = chan.recv(65536)
                    if not part:
                        break
                    got += part
                return got.decode()
            done.append(attempt(forward))
        elif kind == "wait-file":
            # Tells the test that it is time, and waits for its word.
            print("#ready", flush=True)
            sys.stdin.readline()
            done.append({"ok": None})
    first.close()
    return done


order = json.loads(sys.stdin.readline())
print(json.dumps(steps(order)))
