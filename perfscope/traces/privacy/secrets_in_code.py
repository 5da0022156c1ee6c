"""Masks secrets in lines of programs and of their settings, where a name and its value are not next
to each other: `environ["HF_TOKEN"] = "..."`, `token: str = "..."`, `["--api-key", "..."]`.

Only texts in quotes are masked, because the rest is code. Every pattern takes linear time.
"""

import re
from collections.abc import Iterator
from typing import Final

from perfscope.traces.privacy.secret_names import (
    MASK,
    NAME,
    RANDOM,
    STRONG,
    WEAK,
    is_plain,
    secret_strength,
)

LONGEST_LINE: Final = 400
PYTHON_TYPE: Final = re.compile(
    r"(?:str|bytes|bool|int|float|Any|None|Final|Optional|ClassVar|SecretStr|object)\b"
)
TYPE: Final = r"[A-Za-z_][\w.]{0,40}(?:\[[^\]\n=]{0,60}\])?(?:\s?\|\s?[A-Za-z_][\w.]{0,40})?"
LITERAL: Final = re.compile(
    r"""[bBrRuUfF]{0,2}(?P<quote>\"{3}|'{3}|["'])(?P<text>(?:[^\\\n]|\\.)*?)(?P=quote)"""
)
STARTS: Final = r"(?:(?<![A-Za-z0-9_.])|(?<=%[0-9A-Fa-f]{2})|(?<=%25[0-9A-Fa-f]{2}))"
IN_BRACKETS: Final = re.compile(
    rf"""["'](?P<name>{NAME})["']\s{{0,2}}\]\s{{0,2}}=(?!=)\s{{0,2}}""", re.ASCII
)
ANNOTATED: Final = re.compile(
    rf"""{STARTS}(?P<name>{NAME})\s?:\s?{TYPE}\s{{0,2}}=(?!=)\s{{0,2}}""", re.ASCII
)
PAIR: Final = re.compile(rf"""["'](?P<name>-{{0,2}}{NAME})["']\s{{0,2}},\s{{0,4}}""", re.ASCII)
OF_VARIABLE: Final = re.compile(
    rf"""(?:setdefault|putenv|setenv|getenv|environ\.get)\(\s{{0,4}}["'](?P<name>{NAME})["']"""
    rf"""\s{{0,2}},\s{{0,4}}""",
    re.ASCII,
)
"""A call whose second argument is the value of a variable."""
EXPRESSION: Final = re.compile(
    rf"""{STARTS}(?P<name>{NAME})["']?\s{{0,2}}[:=](?![:=])\s{{0,2}}(?=[A-Za-z_(\[{{])""", re.ASCII
)
MEMBER: Final = re.compile(
    rf"""(?:name|key)["']?\s{{0,2}}[:=]\s{{0,2}}["']?(?P<name>{NAME})["']?[\s,]{{1,12}}"""
    rf"""(?:["']?[A-Za-z]{{1,16}}["']?\s{{0,2}}[:=]\s{{0,2}}["']?\w{{1,32}}["']?[\s,]{{1,12}})?"""
    rf"""["']?value["']?\s{{0,2}}[:=]\s{{0,2}}(?P<value>"[^"\n]*"|'[^'\n]*'|[^\s"',;}}]+)""",
    re.ASCII | re.IGNORECASE,
)
MEMBER_AFTER: Final = re.compile(
    rf"""["']value["']\s{{0,2}}:\s{{0,2}}(?P<value>"[^"\n]*"|'[^'\n]*')[\s,]{{1,12}}"""
    rf"""["'](?:name|key)["']\s{{0,2}}:\s{{0,2}}["'](?P<name>{NAME})["']""",
    re.ASCII | re.IGNORECASE,
)
ELEMENT: Final = re.compile(
    rf"<(?:[A-Za-z]{{1,16}}:)?(?P<name>{NAME})(?:\s[^<>]{{0,128}})?>"
    rf"(?P<value>\s{{0,8}}[^<\s][^<]{{0,255}})</(?:[A-Za-z]{{1,16}}:)?(?P=name)>",
    re.ASCII,
)
ENCODED: Final = re.compile(
    rf"""{STARTS}(?P<name>{NAME})%(?:25)?3[dD]"""
    rf"""(?P<value>(?:[^\s&"'%]|%(?!26|2526)[0-9A-Fa-f]{{2}})+)""",
    re.ASCII,
)


def mask_in_code(text: str) -> str:
    """Return a text with the secrets in its code masked."""
    for pattern in (IN_BRACKETS, ANNOTATED, PAIR):
        text = mask_places(text, literals_after(pattern, text))
    text = mask_places(text, literals_after(OF_VARIABLE, text))
    text = mask_places(text, literals_in_expressions(text))
    for pattern in (MEMBER, MEMBER_AFTER, ELEMENT, ENCODED):
        text = mask_places(text, values_of(pattern, text))
    return text


def mask_places(text: str, places: Iterator[tuple[int, int]]) -> str:
    """Return the text with the mask at each place (begin, end), which are in order."""
    pieces, kept = [], 0
    for begin, end in places:
        pieces += [text[kept:begin], MASK]
        kept = end
    return "".join([*pieces, text[kept:]]) if pieces else text


def literals_after(pattern: "re.Pattern[str]", text: str) -> Iterator[tuple[int, int]]:
    """Yield where the literals are that follow the name of a secret."""
    for head in pattern.finditer(text):
        strength = secret_strength(head["name"])
        literal = LITERAL.match(text, head.end(), head.end() + LONGEST_LINE) if strength else None
        if literal is None or is_plain(literal["text"], strength):
            continue
        if pattern is PAIR and not is_value_of_pair(head["name"], literal["text"], strength):
            continue
        yield literal.span("text")


def is_value_of_pair(name: str, text: str, strength: int) -> bool:
    """Return whether the second of two texts is the value of the first, and not another name."""
    if name.startswith("-"):
        return not text.startswith("-")
    return bool(RANDOM.match(text)) or (strength == STRONG and looks_chosen(text))


def looks_chosen(text: str) -> bool:
    """Return whether a text may be a password: one word with letters and digits."""
    kinds = (any(map(str.isdigit, text)), any(map(str.isalpha, text)))
    return all(kinds) and 6 <= len(text) <= 200 and not re.search(r"\s", text)


def literals_in_expressions(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the literals are that the value of a secret is computed of: `os.getenv("X") or
    "..."`, `("user", "...")`.
    """
    at = 0
    while (head := EXPRESSION.search(text, at)) is not None:
        at = head.end()
        strength = secret_strength(head["name"])
        if strength not in (WEAK, STRONG):
            continue
        newline = text.find("\n", at, at + LONGEST_LINE)
        end = newline if newline >= 0 else min(at + LONGEST_LINE, len(text))
        for literal in LITERAL.finditer(text, at, end):
            found = literal["text"]
            if RANDOM.match(found) or (strength == STRONG and looks_chosen(found)):
                yield literal.span("text")
        at = end


def values_of(pattern: "re.Pattern[str]", text: str) -> Iterator[tuple[int, int]]:
    """Yield where the values of secrets are, by a pattern with the name and the value."""
    for match in pattern.finditer(text):
        strength = secret_strength(match["name"])
        if strength and not is_plain(match["value"], strength):
            begin, end = match.span("value")
            quoted = match["value"][0] in "\"'"
            yield (begin + 1, end - 1) if quoted else (begin, end)
