"""Masks secrets in command lines and other texts. A secret is recognized by the name before it, and
by its form.

The words of a name decide: `--wandb-key`, `HF_TOKEN` and `apiKey` name a secret; `--tokenizer`,
`--max-tokens`, `--author` and `key_cache` do not. `-p` does not either, because it is a port or a
precision more often than a password; see `PROGRAM_OPTIONS`. The agent uses this module, so it
imports only the standard library. Every pattern takes linear time.
"""

import os
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

MASK: Final = "***"
LONGEST_REMEMBERED: Final = 4096

# Secrets that are recognized by the name before them

NONE, WEAK, STRONG = 0, 1, 2
"""Whether the value after a name is a secret: no; unless it is a number or a switch; yes."""
STRONG_ENDINGS: Final = (
    *(
        "password",
        "passwords",
        "passwd",
        "passwds",
        "passphrase",
        "passphrases",
        "secret",
        "secrets",
    ),
    *("credential", "credentials", "apikey", "apikeys"),
)
STRONG_WORDS: Final = frozenset(
    (
        "pw",
        "pwd",
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
SWITCHES: Final = frozenset(
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
PLACES: Final = frozenset(
    ("file", "path", "dir", "folder", "name", "type", "length", "len", "size", "timeout", "ttl")
)
"""Last words of names whose values describe a secret: `--password-file` names a file."""
IN_QUERIES: Final = frozenset(("sig", "signature", "code", "sas"))
SIGNATURES: Final = frozenset(("sig", "signature"))
SIGNATURE: Final = re.compile(
    r"(?a)(?=[A-Za-z+/_-]{0,64}[0-9%])[A-Za-z0-9+/%_-]{16,}={0,2}(?![^\s&;,\"')\]}])"
)
"""A digest in base64 or hexadecimal: the value of a signature in a query without its URL."""
WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
LONGEST_PLAIN: Final = 32
PLAIN_VALUE: Final = re.compile(r"(?ai)(?:true|false|none|null|yes|no|on|off|)\Z")
PLAIN_NUMBER: Final = re.compile(r"(?a)[+-]?\d{1,7}(?:\.\d{0,7})?(?:e[+-]?\d{1,3})?\Z")

NAME: Final = r"[A-Za-z_][A-Za-z0-9_.\-]{0,255}"
# In JSON within JSON, a quote has 1, 3, 7 ... backslashes. The closing quote has as many as the
# opening one.
ESCAPED: Final = r"""(?P<escape>\\{1,15})(?P<quote>["']).*?(?:(?<!\\)(?P=escape)(?P=quote)|\Z)"""
QUOTED: Final = rf"""{ESCAPED}|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?"""
LIKE_A_SECRET: Final = re.compile(
    r"(?a)-(?=[\w+/=.-]{0,64}\d)(?=[\w+/=.-]{0,64}[A-Z])[\w+/=.-]{8,}"
)
"""A value that begins with a hyphen, as no option does: with capitals and digits."""
PREFIX: Final = r"""(?:[bBrRuUfF]{1,2}(?=["']))?"""
"""Of a text in Python, as `repr` writes bytes."""
VALUE: Final = re.compile(
    rf"""{PREFIX}(?:{QUOTED})|\[[^\]]{{0,4096}}\]?|[^\s"'&;<>]+""", re.DOTALL | re.ASCII
)
ASSIGNED: Final = re.compile(
    rf"""(?<![A-Za-z0-9_.])(?P<name>{NAME})"""
    rf"""(?P<sign>:?=:?(?![=>:])|\s{{1,2}}=\s{{1,2}}"""
    rf"""|\\{{0,15}}["']?\s{{0,2}}(?::(?![:=])|=>)\s{{0,4}})""",
    re.ASCII,
)
OPTION: Final = re.compile(
    rf"""(?<![^\s"'=(\[,;])(?P<name>--?{NAME})(?P<sign>\s{{1,8}}(?:--\s{{1,8}})?)(?!-)""", re.ASCII
)
HEADER: Final = re.compile(
    r"""(?ai)(?<![a-z])((?:proxy-)?authorization|(?:set-)?cookie)"""
    r"""(\\{0,15}["']?\s{0,3}[:=]\s{0,3}\\{0,15}["']?)[^\r\n"'\\]+"""
)
NAME_HINTS: Final = (
    *(
        "token",
        "key",
        "auth",
        "pass",
        "secret",
        "credential",
        "pw",
        "jwt",
        "cookie",
        "bearer",
        "connectionstring",
    ),
    *("pat", "sig=", "signature=", "code=", "sas="),
)
"""In lower case. Every name that may name a secret contains one of them."""
# Secrets that are recognized by their form

FORMS: Final[dict[str, str]] = {
    "hf_": (
        r"hf_(?:(?=[a-z]{0,40}[A-Z0-9])[A-Za-z0-9]{16,}|"
        r"(?=[a-z0-9]{0,16}[A-Z])(?=[A-Za-z]{0,16}\d)[A-Za-z0-9]{10,}|[A-Za-z0-9]{30,})"
    ),
    "sk-": r"sk-(?:(?:proj|ant|svcacct|admin|or|lf)-[\w-]{8,}|(?=[a-z_-]{0,40}[A-Z0-9])[\w-]{16,})",
    "sk_": r"sk_(?:live|test)_[A-Za-z0-9]{8,}",
    "rk_": r"rk_(?:live|test)_[A-Za-z0-9]{8,}",
    "ghp_": r"ghp_[A-Za-z0-9]{6,}",
    "gho_": r"gho_[A-Za-z0-9]{6,}",
    "ghu_": r"ghu_[A-Za-z0-9]{6,}",
    "ghs_": r"ghs_[A-Za-z0-9]{6,}",
    "ghr_": r"ghr_[A-Za-z0-9]{6,}",
    "github_pat_": r"github_pat_\w{6,}",
    "glpat-": r"glpat-[\w-]{6,}",
    "xox": r"xox[abcdeoprs]-[\w-]{6,}",
    "xapp-": r"xapp-[\w-]{8,}",
    "AKIA": r"AKIA[A-Z0-9]{12,}",
    "ASIA": r"ASIA[A-Z0-9]{12,}",
    "AIza": r"AIza[\w-]{20,}",
    "ya29.": r"ya29\.[\w-]{16,}",
    "eyJ": r"eyJ[\w-]{12,}(?:\.[\w-]*)*",
    "npm_": r"npm_[A-Za-z0-9]{20,}",
    "pypi-": r"pypi-(?:AgE[\w-]{8,}|(?=[a-z_-]{0,40}[A-Z])[\w-]{20,})",
    "dckr_pat_": r"dckr_pat_[\w-]{6,}",
    "nvapi-": r"nvapi-[\w-]{16,}",
    "gsk_": r"gsk_[A-Za-z0-9]{20,}",
    "r8_": r"r8_[A-Za-z0-9]{20,}",
    "wandb_v1_": r"wandb_v1_\w{16,}",
    "dop_v1_": r"dop_v1_[0-9a-f]{16,}",
    "hvs.": r"hvs\.[\w-]{16,}",
    "SG.": r"SG\.[\w-]{16,64}\.[\w-]{16,}",
    "hooks.slack.com": r"hooks\.slack\.com/services/[\w/]+",
}
"""Beginning of a kind of secret -> its pattern. No letter or digit precedes it."""
AFTER_ESCAPE: Final = (
    r"(?<=%[0-9A-Fa-f]{2})|(?<=\\[abfnrtv0])|(?<=\\x[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4})"
    r"|(?<=\[m)|(?<=[\[;]\dm)|(?<=[\[;]\d\dm)"
)
"""A character that is escaped (in a URL, in Python or JSON), or the color of a terminal, is before
it.
"""
FORM: Final = re.compile(
    rf"(?:(?<![A-Za-z0-9])|{AFTER_ESCAPE})(?:{'|'.join(FORMS.values())})", re.ASCII
)
PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.S
)
URL_SECRET: Final = re.compile(
    r"((?::|\\:)\\{0,15}/\\{0,15}/)"
    r"(?:[^/\s?#\\]+|[^/\s?#:@\\\"']{0,128}:(?!\d{1,5}[/?#])[^\s@\"']{1,256})(?=@)"
)
"""User and password, which may contain `/` and `#`; not a port with the path after it."""
BEARER: Final = re.compile(r"(?ai)(?<![a-z])(bearer\s{1,4})[\w.~+/=-]{6,}")
BASIC: Final = re.compile(
    r"(?ai)(?<![a-z])(basic\s{1,4})(?=[a-z+/]{0,64}[0-9])[a-z0-9+/]{12,}={0,2}"
)
FORM_HINTS: Final = (*FORMS, "PRIVATE KEY", "://", ":\\", "earer ", "EARER ", "asic ", "ASIC ")

PROGRAM_OPTIONS: Final[dict[str, frozenset[str]]] = {
    "sshpass": frozenset(("-p",)),
    "curl": frozenset(("-u", "--user", "-U", "--proxy-user")),
    "redis-cli": frozenset(("-a",)),
    "mysql": frozenset(("-p",)),
}
"""Program -> its options whose value is a secret although their name does not show it."""
IN_SHELL: Final = re.compile(
    "|".join(
        rf"""(?:^|(?<=[\s;&|(/"'`])){program}(?:\s{{1,8}}[^\s;&|]+){{0,12}}?\s{{1,8}}"""
        rf"(?:{'|'.join(sorted(options))})(?:\s{{1,8}}|=|(?<=\s-\w)(?=[^\s;&|]))(?=[^\s;&|])"
        for program, options in PROGRAM_OPTIONS.items()
    )
)
"""Such a program with its option within the text of a shell; the value follows."""
SHELL_WORD: Final = re.compile(rf"{QUOTED}|[^\s;&|]+", re.DOTALL)
HEADER_OPTIONS: Final = ("-H", "--header")
HEADER_VALUE: Final = re.compile(r"(?a)([A-Za-z][\w-]{0,63}):(.+)", re.DOTALL)
HEADER_BEFORE: Final = re.compile(r"""(?:^|\s)(?:-H|--header)[\s=]{1,2}["']?\Z""")


@lru_cache(1024)
def secret_strength(name: str) -> int:
    """Return NONE, WEAK or STRONG: whether the value of a name is a secret. Only the last part of a
    dotted name counts.
    """
    words = [word.lower() for word in WORDS.findall(name.rsplit(".", 1)[-1])]
    if not words or words[0] in SWITCHES or words[-1] in PLACES or name in ("PWD", "OLDPWD"):
        return NONE
    if any(word in STRONG_WORDS or word.endswith(STRONG_ENDINGS) for word in words):
        return STRONG
    before = words[-2] if len(words) > 1 else ""
    if words[-1] in WEAK_WORDS:
        return NONE if before in ORDINARY_BEFORE else WEAK
    return WEAK if before in PLURALS.get(words[-1], ()) else NONE


def is_plain(value: str, strong: int) -> bool:
    """Return whether a value is a switch, or after a weak name a number, and therefore not a
    secret.
    """
    if len(value) > LONGEST_PLAIN:
        return False
    bare = value.strip("\"'\\,)]}")
    return bare == MASK or bool(
        PLAIN_VALUE.match(bare) or (strong == WEAK and PLAIN_NUMBER.match(bare))
    )


def mask_secrets(command: Sequence[str]) -> list[str]:
    """Return a command line with its secrets masked: values of options and variables by their
    names, everything else by its form.
    """
    masked: list[str] = []
    pending, program, before = NONE, "", ""
    for word in command:
        is_header, before = before in HEADER_OPTIONS, word
        if is_header:
            masked.append(mask_header(word))
            continue
        base = os.path.basename(word)
        program = base if base in PROGRAM_OPTIONS else program
        if pending and word == "--":
            masked.append(word)
            continue
        is_option = word.startswith("--" if pending == STRONG else "-")
        if pending and (not is_option or LIKE_A_SECRET.fullmatch(word)):
            masked.append(word if is_plain(word, pending) else MASK)
            pending = NONE
            continue
        pending = option_strength(word, program)
        masked.append(mask_word(word, program))
    return masked


def mask_header(word: str) -> str:
    """Return a header, the value of an option, with its value masked where its name names a secret.

    No blank is needed after the colon.
    """
    header = HEADER_VALUE.fullmatch(word)
    if header is None or not secret_strength(header[1]):
        return mask_text(word)
    return f"{header[1]}: {MASK}"


def option_strength(word: str, program: str) -> int:
    """Return whether the next word of a command line is a secret: NONE, WEAK or STRONG."""
    if word in PROGRAM_OPTIONS.get(program, ()):
        return STRONG
    return (
        secret_strength(word)
        if word.startswith("-") and re.fullmatch(rf"--?{NAME}", word)
        else NONE
    )


def mask_word(word: str, program: str) -> str:
    """Return a word of a command line with its secrets masked. The value after `name=` extends to
    the end of the word, with its blanks.
    """
    name, equals, value = word.partition("=")
    strong = (
        secret_strength(name) if equals and re.fullmatch(rf"[-+~/]{{0,3}}{NAME}", name) else NONE
    )
    if strong:
        return word if is_plain(value, strong) else f"{name}={MASK}"
    if word[:2] in PROGRAM_OPTIONS.get(program, ()) and len(word) > 2 and word[1] != "-":
        return f"{word[:2]}{MASK}"
    return mask_text(word)


def mask_text(text: str) -> str:
    """Return a text with its secrets masked."""
    return remembered(text) if len(text) <= LONGEST_REMEMBERED else masked_text(text)


def masked_text(text: str) -> str:
    """Return a text with its secrets masked, by form and by name, without the cache of
    `mask_text`.
    """
    if any(hint in text for hint in FORM_HINTS):
        text = PRIVATE_KEY.sub(MASK, FORM.sub(MASK, text))
        for scheme in (BEARER, BASIC):
            text = scheme.sub(rf"\1{MASK}", text)
        text = URL_SECRET.sub(rf"\1{MASK}", text)
    if any(program in text for program in PROGRAM_OPTIONS):
        text = mask_in_shell(text)
    lowered = text.lower()
    if any(hint in lowered for hint in NAME_HINTS):
        text = mask_after_names(
            OPTION, mask_after_names(ASSIGNED, HEADER.sub(rf"\1\2{MASK}", text))
        )
    return text


remembered = lru_cache(1024)(masked_text)


def mask_in_shell(text: str) -> str:
    """Return the text of a shell with the values of PROGRAM_OPTIONS masked."""
    pieces, kept, at = [], 0, 0
    while (match := IN_SHELL.search(text, at)) is not None:
        value = SHELL_WORD.match(text, match.end())
        at = match.end() if value is None else value.end()
        if value is not None:
            pieces += [text[kept : match.end()], MASK]
            kept = at
    return "".join([*pieces, text[kept:]]) if pieces else text


def mask_after_names(pattern: "re.Pattern[str]", text: str) -> str:
    """Return the text with the value after each name of a secret masked. Other values are searched
    for names again.
    """
    pieces, kept, at = [], 0, 0
    while (match := pattern.search(text, at)) is not None:
        at = match.end()
        strong = match_strength(match)
        value = VALUE.match(text, at) if strong else None
        if value is None or is_plain(value[0], strong) or is_file_position(match["sign"], value[0]):
            continue
        pieces += [text[kept:at], quoted_mask(value[0])]
        kept = at = value.end()
    return "".join([*pieces, text[kept:]]) if pieces else text


def match_strength(match: "re.Match[str]") -> int:
    """Return whether the value after a match of a name is a secret: NONE, WEAK or STRONG.

    Before a `:` without a blank or a quote, a weak name counts only with a hyphen, as in the name
    of a header.
    """
    name, before = match["name"], match.string[max(match.start() - 1, 0) : match.start()]
    last_word = (WORDS.findall(name) or [""])[-1].lower()
    if before in ("?", "&") and last_word in IN_QUERIES:
        return STRONG
    if last_word in SIGNATURES and match["sign"] == "=":
        in_url = before in (";", "#")  # also after `&amp;`
        return STRONG if in_url or SIGNATURE.match(match.string, match.end()) else NONE
    strong = secret_strength(name)
    tight = match["sign"] == ":" and match.string[match.end() : match.end() + 1] not in (
        '"',
        "'",
        "\\",
        "[",
    )
    if tight and strong == WEAK and "-" not in name:
        in_header = HEADER_BEFORE.search(match.string[max(match.start() - 16, 0) : match.start()])
        return strong if in_header else NONE
    return strong


def is_file_position(sign: str, value: str) -> bool:
    """Return whether name, sign and value are a line of a file, as in `my_secret:12`."""
    return sign == ":" and bool(PLAIN_NUMBER.match(value[:32].rstrip(",)]}")))


def quoted_mask(value: str) -> str:
    """Return the mask in the quotes of the value, so that JSON stays valid; brackets and commas at
    its end stay.
    """
    opening = re.match(r"""([bBrRuUfF]{0,2})(\\{0,15}["'])""", value)
    if opening is not None:
        ends = len(value) > len(opening[0]) and value.endswith(opening[2])
        return f"{opening[0]}{MASK}{opening[2] if ends else ''}"
    if value.startswith("["):
        return f'["{MASK}"]'
    return MASK + value[len(value.rstrip(",)]}")) :]


def mask_values(value: Any) -> Any:
    """Return lists and dictionaries with every text in them masked, except for keys."""
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, dict):
        return {key: mask_values(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [mask_values(inner) for inner in value]
    return value
