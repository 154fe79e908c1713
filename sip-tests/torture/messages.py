"""The messages as bytes, and the rows of RESULTS.md.

A message's file begins with a line `# name: RFC section`. Every line after it is a line of the message and ends with CRLF.
`\\xHH` is a byte, `\\\\` a backslash, and a backslash at a line's end joins it to the next: no CRLF is sent there.
"""
import collections, glob, os, re
HERE = os.path.dirname(os.path.abspath(__file__))
Row = collections.namedtuple("Row", "section expects answer call why")


class TortureMessage:
    def __init__(self, name, section, data):
        self.name, self.section, self.data, self.turn = name, section, data, 0


def unescape(text):
    out = re.sub(r"\\(x[0-9a-f]{2}|\\|\n)|\n",
                 lambda m: "\r\n" if m[1] is None else {"\\": "\\", "\n": ""}.get(m[1]) if m[1][0] != "x" else chr(int(m[1][1:], 16)), text)
    return out.encode("latin-1")


def load():
    """All messages by name; `turn` tells those apart that one gateway would take for repeats of each other."""
    out, seen = {}, collections.Counter()
    for path in sorted(glob.glob(os.path.join(HERE, "messages", "*.txt"))):
        with open(path, encoding="ascii", newline="\n") as f:
            head, _, text = f.read().partition("\n")
        name, section = re.fullmatch(r"# (\S+): (RFC \d+ [\d.]+)", head).groups()
        message = TortureMessage(name, section, unescape(text))
        via = re.search(rb"(?mi)^(?:via|v)[ \t]*:(.*?)\r$", message.data)
        key = message.data.split(b" ")[0], via[1] if via else None
        message.turn = seen[key]
        seen[key] += 1
        out[name] = message
    return out


def rows():
    """The rows of RESULTS.md by message."""
    out = {}
    with open(os.path.join(HERE, "RESULTS.md"), encoding="utf-8") as f:
        for line in f:
            cells = [c.strip() for c in line.strip().strip("|").split("|")]
            if len(cells) == 6 and re.fullmatch(r"`[\w-]+`", cells[0]):
                name, section, expects, answer, call, why = cells
                out[name.strip("`")] = Row(section, expects, answer, call == "delivered", why)
    return out
