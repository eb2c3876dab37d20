"""What the programs share: the records that each client writes, and how a check is reported.

A program prints one line for each check, `ok NAME` or `FAILED NAME: what was expected, what came`.
"""

import sys
import traceback

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]

# Key, value, headers: null and empty are not the same, and a header may come twice.
RECORDS = [
    (b"key", b"value", []),
    (None, b"no key", []),
    (b"", b"empty key", []),
    (b"null", None, []),
    (b"empty", b"", []),
    (b"headers", b"with", [("one", b"1"), ("two", b""), ("one", b"again")]),
    ("\u0448\u043b\u044e\u0437".encode(), "\u2713".encode(), [("\u2713", b"\x00\xff")]),
    (b"large", b"0123456789abcdef" * 4096, []),
]


class Checks:
    """Runs checks and remembers whether one failed."""

    def __init__(self):
        self.failed = False

    def run(self, name, check, *arguments):
        try:
            check(*arguments)
            print("ok", name, flush=True)
        except Exception as error:  # whatever a client throws is a failed check
            self.report(name, error)

    def report(self, name, error):
        self.failed = True
        told = str(error).replace("\n", " ") or type(error).__name__
        print(f"FAILED {name}: {told}", flush=True)
        traceback.print_exc()

    def end(self):
        sys.exit(1 if self.failed else 0)


def same(what, expected, came):
    """Fails with both where they differ."""
    if expected != came:
        raise AssertionError(f"{what}: expected {shortened(expected)}, came {shortened(came)}")


def refused(what, kinds, action):
    """Fails where `action` does not raise one of `kinds`."""
    try:
        came = action()
    except kinds:
        return
    raise AssertionError(f"{what}: expected a refusal, came {shortened(came)}")


def shortened(value):
    text = repr(value)
    return text if len(text) < 400 else text[:400] + "..."
