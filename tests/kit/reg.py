"""Reads a .reg file by its own grammar, with nothing of the gateway's: prints [[key, deleted, [[name, value], …]], …] as JSON."""

import json
import re
import sys

raw = open(sys.argv[1], "rb").read()
assert raw[:2] == b"\xff\xfe", "no byte order mark of UTF-16LE"
text = raw[2:].decode("utf-16-le")
assert "\n" not in text.replace("\r\n", ""), "a line end that is not CRLF"
lines = text.split("\r\n")
assert lines[0] == "Windows Registry Editor Version 5.00", lines[0]
assert lines[1] == "", "no empty line behind the header"
assert lines[-1] == "" and lines[-2] == "", "no empty line at the end"
TEXT = re.compile(r'"((?:[^"\\]|\\["\\])*)"="((?:[^"\\]|\\["\\])*)"')
NUMBER = re.compile(r'"((?:[^"\\]|\\["\\])*)"=dword:([0-9a-f]{8})')
GONE = re.compile(r'"((?:[^"\\]|\\["\\])*)"=-')
KEY = re.compile(r"\[(-?)(HKEY_CURRENT_USER\\[^\]]+)\]")


def plain(text):
    return re.sub(r'\\(["\\])', r"\1", text)


keys = []
for line in lines[2:]:
    if line == "":
        continue
    if m := KEY.fullmatch(line):
        keys.append([m[2], m[1] == "-", []])
    elif m := TEXT.fullmatch(line):
        keys[-1][2].append([plain(m[1]), plain(m[2])])
    elif m := NUMBER.fullmatch(line):
        keys[-1][2].append([plain(m[1]), int(m[2], 16)])
    elif m := GONE.fullmatch(line):
        keys[-1][2].append([plain(m[1]), None])
    else:
        raise SystemExit(f"no line of a .reg file: {line!r}")
print(json.dumps(keys))
