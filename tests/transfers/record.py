#!/usr/bin/env python3
"""Runs what an SSH client asked for, and records both directions in the order in which a relay would see them.

record.py FOLDER, with SSH_ORIGINAL_COMMAND: sshd's ForceCommand. The recording is one file: the command, a newline-free
length before it, then pieces of (who: 1 byte, length: 4 bytes, bytes), each written before it is passed on.
"""

import os
import subprocess
import sys
import threading

PIECE = 32 * 1024


def main():
    folder = sys.argv[1]
    command = os.environb[b"SSH_ORIGINAL_COMMAND"]
    number = 0
    while True:
        try:
            out = open(os.path.join(folder, "%03d" % number), "xb", buffering=0)
            break
        except FileExistsError:
            number += 1
    lock = threading.Lock()

    def put(who, piece):
        with lock:
            out.write(who + len(piece).to_bytes(4, "big") + piece)

    put(b"!", command)
    child = subprocess.Popen(["/bin/sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def client():
        try:
            while piece := os.read(0, PIECE):
                put(b"c", piece)
                child.stdin.write(piece)
                child.stdin.flush()
            child.stdin.close()
        except BrokenPipeError:
            pass

    threading.Thread(target=client, daemon=True).start()
    while piece := os.read(child.stdout.fileno(), PIECE):
        put(b"t", piece)
        while piece:
            piece = piece[os.write(1, piece):]
    code = child.wait()
    put(b".", b"")
    os._exit(code)


main()
