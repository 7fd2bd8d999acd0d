"""paramiko's SFTPClient does what stdin says as JSON: {"port", "key", "steps": [[method, argument, …], …]}."""

import json
import sys

import paramiko

order = json.load(sys.stdin)
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect("127.0.0.1", order["port"], "root", key_filename=order["key"], allow_agent=False, look_for_keys=False)
sftp = client.open_sftp()


def write_backwards(path, pieces, size):
    with sftp.open(path, "w") as file:
        for n in reversed(range(pieces)):
            file.seek(n * size)
            file.write(bytes([n]) * size)


def read_part(path, start, size):
    with sftp.open(path, "r") as file:
        file.seek(start)
        file.read(size)


for method, *arguments in order["steps"]:
    own = {"write_backwards": write_backwards, "read_part": read_part}
    own.get(method, getattr(sftp, method, None))(*arguments)
client.close()
