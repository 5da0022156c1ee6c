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

from perfscope.traces.privacy.secret_forms import (
    BASIC,
    BEARER,
    ENCODED_URL_SECRET,
    FORM,
    FORM_HINTS,
    PRIVATE_KEY,
    URL_SECRET,
)
from perfscope.traces.privacy.secret_names import (
    FAINT,
    MASK,
    NAME,
    NONE,
    PLAIN_NUMBER,
    STRONG,
    WEAK,
    WORD,
    is_plain,
    secret_strength,
)
from perfscope.traces.privacy.secrets_in_code import PYTHON_TYPE, STARTS, mask_in_code

LONGEST_REMEMBERED: Final = 4096

# Secrets that are recognized by the name before them

IN_QUERIES: Final = frozenset(("sig", "signature", "code", "sas"))
SIGNATURES: Final = frozenset(("sig", "signature"))
SIGNATURE: Final = re.compile(
    r"(?a)(?=[A-Za-z+/_-]{0,64}[0-9%])[A-Za-z0-9+/%_-]{16,}={0,2}(?![^\s&;,\"')\]}])"
)
"""A digest in base64 or hexadecimal: the value of a signature in a query without its URL."""

# In JSON within JSON, a quote has 1, 3, 7 ... backslashes. The closing quote has as many as the
# opening one.
ESCAPED: Final = r"""(?P<escape>\\{1,15})(?P<quote>["']).*?(?:(?<!\\)(?P=escape)(?P=quote)|\Z)"""
TRIPLE: Final = r"""\"{3}.*?(?:\"{3}|\Z)|'{3}.*?(?:'{3}|\Z)"""
QUOTED: Final = rf"""{ESCAPED}|{TRIPLE}|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?"""
LIKE_A_SECRET: Final = re.compile(
    r"(?a)-(?=[\w+/=.-]{0,64}\d)(?=[\w+/=.-]{0,64}[A-Z])[\w+/=.-]{8,}"
)
"""A value that begins with a hyphen, as no option does: with capitals and digits."""
PREFIX: Final = r"""(?:(?:[bBrRuUfF]{1,2}|\$)(?=["']))?"""
"""Of a text in Python, as `repr` writes bytes, or in a shell."""
BLOCK: Final = r"[|>][+-]?[ \t]{0,8}\n(?:[ \t]+[^\n]*(?:\n|\Z))+"
"""A text of several lines in YAML."""
VALUE: Final = re.compile(
    rf"""{BLOCK}|{PREFIX}(?:{QUOTED})|\[[^\]]{{0,4096}}\]?|[^\s"'&;<>]+""", re.DOTALL | re.ASCII
)
QUOTE_IN_SHELL: Final = re.compile(r"""(?:\\''|"'"')[^']*'?""")
"""Follows a text in single quotes that contains one."""
ASSIGNED: Final = re.compile(
    rf"""{STARTS}(?P<name>{NAME})"""
    rf"""(?P<sign>(?:\[\w{{0,32}}\]|\])?:?=:?(?![=>:])|\s{{1,32}}=\s{{1,8}}|:[-=+](?=[^\s}}])"""
    rf"""|\\{{0,15}}["']\s{{0,32}}:\s{{0,64}}(?=\\{{0,15}}["'\[])"""
    rf"""|\\{{0,15}}["']?\s{{0,2}}(?::(?![:=])|=>)\s{{0,4}})""",
    re.ASCII,
)
OPTION: Final = re.compile(
    rf"""(?<![^\s"'=(\[,;])(?P<name>--?{NAME})(?P<sign>\s{{1,8}}(?:--\s{{1,8}}|\\\n\s{{0,16}})?)(?!-)""",
    re.ASCII,
)
SET: Final = re.compile(
    rf"""(?<![\w-])(?:setenv|setx|aws configure set)\s{{1,8}}(?P<name>{NAME})(?P<sign>\s{{1,8}})""",
    re.ASCII,
)
HEADER: Final = re.compile(
    r"""(?ai)(?<![a-z])((?:proxy-)?authorization|(?:set-)?cookie)"""
    r"""(\\{0,15}["']?\s{0,3}[:=]\s{0,3}\\{0,15}["']?)[^\r\n"'\\]+(?:(?<==)"[^"\r\n]*"[^\r\n"'\\]*)*"""
)
NAME_HINTS: Final = (
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
    "pat",
    "sig=",
    "signature=",
    "code=",
    "sas=",
)
"""In lower case. Every name that may name a secret contains one of them."""

PROGRAM_OPTIONS: Final[dict[str, frozenset[str]]] = {
    "sshpass": frozenset(("-p",)),
    "curl": frozenset(("-u", "--user", "-U", "--proxy-user", "-b", "--cookie", "-E", "--cert")),
    "redis-cli": frozenset(("-a",)),
    "mysql": frozenset(("-p",)),
    "mysqldump": frozenset(("-p",)),
    "mysqladmin": frozenset(("-p",)),
    "mariadb": frozenset(("-p",)),
    "ldapsearch": frozenset(("-w",)),
    "sqlcmd": frozenset(("-P",)),
    "unzip": frozenset(("-P",)),
    "zip": frozenset(("-P",)),
    "mosquitto_pub": frozenset(("-P", "--pw")),
    "mosquitto_sub": frozenset(("-P", "--pw")),
    "smbclient": frozenset(("-U", "--user")),
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
    if header is None or secret_strength(header[1]) not in (WEAK, STRONG):
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
    strength = (
        secret_strength(name) if equals and re.fullmatch(rf"[-+~/]{{0,3}}{NAME}", name) else NONE
    )
    if strength and not is_plain(value, strength):
        return f"{name}={MASK}"
    if strength in (WEAK, STRONG):
        return word
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
        text = ENCODED_URL_SECRET.sub(rf"\1{MASK}", URL_SECRET.sub(rf"\1{MASK}", text))
    if any(program in text for program in PROGRAM_OPTIONS):
        text = mask_in_shell(text)
    lowered = text.lower()
    if any(hint in lowered for hint in NAME_HINTS):
        text = mask_in_code(HEADER.sub(rf"\1\2{MASK}", text))
        for pattern in (ASSIGNED, OPTION, SET):
            text = mask_after_names(pattern, text)
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
        strength = match_strength(match)
        value = VALUE.match(text, at) if strength else None
        if value is None or is_plain(value[0], strength) or is_ordinary(match["sign"], value[0]):
            continue
        pieces += [text[kept:at], quoted_mask(value[0])]
        at = value.end()
        while value[0].endswith("'") and (more := QUOTE_IN_SHELL.match(text, at)) is not None:
            at = more.end()
        kept = at
    return "".join([*pieces, text[kept:]]) if pieces else text


def match_strength(match: "re.Match[str]") -> int:
    """Return whether the value after a match of a name is a secret: NONE, WEAK or STRONG.

    Before a `:` without a blank or a quote, a weak name counts only with a hyphen, as in the name
    of a header.
    """
    name, before = match["name"], match.string[max(match.start() - 1, 0) : match.start()]
    last_word = (WORD.findall(name) or [""])[-1].lower()
    if before in ("?", "&") and last_word in IN_QUERIES:
        return STRONG
    if last_word in SIGNATURES and match["sign"] == "=":
        in_url = before in (";", "#")  # also after `&amp;`
        return STRONG if in_url or SIGNATURE.match(match.string, match.end()) else NONE
    if before == "/" and match["sign"].startswith(": "):
        return NONE  # of a message about a file: `/etc/passwd: Permission denied`
    strength = secret_strength(f"-{name}" if before == "-" else name)
    tight = match["sign"] == ":" and match.string[match.end() : match.end() + 1] not in (
        '"',
        "'",
        "\\",
        "[",
    )
    if tight and strength in (FAINT, WEAK) and "-" not in name:
        in_header = HEADER_BEFORE.search(match.string[max(match.start() - 16, 0) : match.start()])
        return strength if in_header else NONE
    return strength


def is_ordinary(sign: str, value: str) -> bool:
    """Return whether a value after a colon is the number of a line, as in `my_secret:12`, or a type
    of Python, as in `def f(token: str)`.
    """
    shown = value[:32].rstrip(",)]}:")
    if sign == ":" and PLAIN_NUMBER.match(shown):
        return True
    return ":" in sign and bool(PYTHON_TYPE.match(shown))


def quoted_mask(value: str) -> str:
    """Return the mask in the quotes of the value, so that JSON stays valid; brackets and commas at
    its end stay.
    """
    opening = re.match(r"""([bBrRuUfF]{0,2})(\"{3}|'{3}|\\{0,15}["'])""", value)
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
