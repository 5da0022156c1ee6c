"""Whether the name before a value says that the value is a secret."""

import re
from functools import lru_cache
from typing import Final

MASK: Final = "***"
FAINT, NONE, WEAK, STRONG = -1, 0, 1, 2
"""How certainly the value after a name is a secret.

FAINT: only if it looks random. NONE: it is not a secret. WEAK: unless it is a number or a switch.
STRONG: always, except for a switch.
"""
NAME: Final = r"[A-Za-z_][A-Za-z0-9_.\-]{0,255}"
STRONG_ENDINGS: Final = (
    "password",
    "passwords",
    "passwd",
    "passwds",
    "passphrase",
    "passphrases",
    "secret",
    "secrets",
    "credential",
    "credentials",
    "apikey",
    "apikeys",
)
STRONG_WORDS: Final = frozenset(
    (
        "pw",
        "pwd",
        "psk",
        "jwt",
        "bearer",
        "cookie",
        "cookies",
        "authorization",
        "authtoken",
        "accesstoken",
        "accesskey",
        "secretkey",
    )
    + (
        "privatekey",
        "apitoken",
        "authkey",
        "sessiontoken",
        "bearertoken",
        "connectionstring",
        "passcode",
    )
    + ("dbpw", "rootpw", "userpw", "adminpw", "mypw")
)
WEAK_WORDS: Final = frozenset(("token", "key", "auth", "oauth", "pat", "pass"))
PLURALS: Final = {
    "keys": frozenset(("api", "access", "secret", "private")),
    "tokens": frozenset(("api", "access", "auth")),
}
ORDINARY_BEFORE: Final = frozenset(
    (
        "pad",
        "bos",
        "eos",
        "unk",
        "sep",
        "cls",
        "mask",
        "image",
        "video",
        "audio",
        "special",
        "start",
        "end",
        "stop",
    )
    + (
        "begin",
        "next",
        "max",
        "min",
        "num",
        "n",
        "new",
        "per",
        "prompt",
        "placeholder",
        "text",
        "label",
        "labels",
    )
    + (
        "sort",
        "primary",
        "foreign",
        "partition",
        "dict",
        "cache",
        "input",
        "output",
        "feature",
        "column",
        "caption",
    )
    + (
        "metric",
        "group",
        "index",
        "public",
        "query",
        "batch",
        "target",
        "state",
        "json",
        "map",
        "forward",
        "backward",
    )
    + (
        "first",
        "second",
        "single",
        "one",
        "multi",
        "draft",
        "vision",
        "hot",
        "class",
        "routing",
        "shard",
    )
)
"""Words of machine learning and of data: `--pad-token`, `--image-key` and `forward_pass` do not
name secrets.
"""
JOINED_BEFORE: Final = frozenset(("", "sub", "de", "pre", "re", "un", "byte", "meta"))
"""What `token` is an ordinary word with; "" is `token` itself."""
SWITCH_STARTS: Final = frozenset(
    (
        "no",
        "use",
        "require",
        "disable",
        "enable",
        "skip",
        "with",
        "without",
        "is",
        "has",
        "allow",
        "add",
        "show",
        "print",
    )
)
"""First words of the names of switches: `--use-token` has no value, or true or false."""
DESCRIBING_ENDS: Final = frozenset(
    ("file", "path", "dir", "folder", "name", "type", "length", "len", "size", "timeout", "ttl")
)
"""Last words of names whose values describe a secret: `--password-file` names a file."""
WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
LONGEST_PLAIN: Final = 32
RANDOM: Final = re.compile(
    r"(?a)[\"']?(?:(?=\w*[a-z])(?=\w*[A-Z])(?=\w*\d\w*\d\w*\d)[\w+=-]{16,200}"
    r"|[0-9a-f]{32,200})[\"']?\Z"
)
"""A value of letters of both cases and at least three digits, or of many hexadecimal digits."""
PLAIN_VALUE: Final = re.compile(r"(?ai)(?:true|false|none|null|yes|no|on|off|)\Z")
PLAIN_NUMBER: Final = re.compile(r"(?a)[+-]?\d{1,7}(?:\.\d{0,7})?(?:e[+-]?\d{1,3})?\Z")


@lru_cache(1024)
def secret_strength(name: str) -> int:
    """Return FAINT, NONE, WEAK or STRONG: whether the value of a name is a secret. Only the last
    part of a dotted name counts.
    """
    name = name[2:] if name.startswith("-D") else name  # a property of Java
    words = [word.lower() for word in WORD.findall(name.rsplit(".", 1)[-1])]
    if (
        not words
        or words[0] in SWITCH_STARTS
        or words[-1] in DESCRIBING_ENDS
        or name in ("PWD", "OLDPWD")
    ):
        return NONE
    if any(word in STRONG_WORDS or word.endswith(STRONG_ENDINGS) for word in words):
        return STRONG
    before = words[-2] if len(words) > 1 else ""
    joined = words[-1].removesuffix("token")  # as in `hftoken`
    if words[-1] != joined and joined not in JOINED_BEFORE:
        return NONE if joined in ORDINARY_BEFORE else WEAK
    if words[-1] in WEAK_WORDS:
        return NONE if before in ORDINARY_BEFORE else WEAK
    if before in PLURALS.get(words[-1], ()):
        return WEAK
    named = [at for at, word in enumerate(words) if word in WEAK_WORDS]
    return FAINT if any(words[at - 1] not in ORDINARY_BEFORE or at == 0 for at in named) else NONE


def is_plain(value: str, strength: int) -> bool:
    """Return whether a value is a switch, or after a weak name a number, and therefore not a
    secret.
    """
    if strength == FAINT:
        return not RANDOM.match(value)
    if len(value) > LONGEST_PLAIN:
        return False
    bare = value.strip("\"'\\,)]}")
    return bare == MASK or bool(
        PLAIN_VALUE.match(bare) or (strength == WEAK and PLAIN_NUMBER.match(bare))
    )
