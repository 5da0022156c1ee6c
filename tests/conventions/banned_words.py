"""Words and phrases that no text of the project may contain, with what to write instead."""

import re
from dataclasses import dataclass, field

UNITS = r"(?:ns|us|µs|ms|s|kB|MB|GB|joules|bytes|steps|samples|tokens)"
COUNTED = r"(?:step|batch|second|minute|device|event|host|rank|row|kernel|range|round|worker|core)"


@dataclass(frozen=True)
class BannedWord:
    """A pattern over whole words, and the plain English for it. A space matches any whitespace."""

    pattern: str
    instead: str
    compiled: re.Pattern[str] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        spaced = self.pattern.replace(" ", r"\s+")
        compiled = re.compile(rf"(?<![\w-])(?:{spaced})(?![\w-])", re.IGNORECASE)
        object.__setattr__(self, "compiled", compiled)


BANNED = (
    BannedWord("told|said|tells|speaks of", "reported, printed, logged, inferred, unknown"),
    BannedWord(rf"{UNITS} an? {COUNTED}", "ms per step, steps per second"),
    BannedWord(
        r"looks a second|(?:a|an|each|every|of the|the|first|\d+) looks?", "sample, refresh"
    ),
    BannedWord("looked for", "checked"),
    BannedWord("doors?", "link, command, entry point, socket, wrapper"),
    BannedWord("dear|dearer|dearest", "expensive, most expensive"),
    BannedWord("prices?|priced", "cost"),
    BannedWord("ill|heals?|healed|healing|sick", "slow because of, bottleneck, fix, healthy"),
    BannedWord("sounds?", "healthy, valid"),
    BannedWord(r"stands?(?! (?:for|in for)\b)", "is"),
    BannedWord("lies|lie ready|lay ready", "is, ready"),
    BannedWord("beside", "next to, with, while ... runs"),
    BannedWord("in front of", "before"),
    BannedWord("stays? behind|left behind", "remains; all patches removed"),
    BannedWord(
        r"(?<!there\s)(?:is|are|was|were) no(?! (?:longer|more|less|fewer|\w+er than))",
        "is not a",
    ),
    BannedWord("knows no", "does not know"),
    BannedWord("whoever", "a plain subject: every process that, the thread that"),
    BannedWord("as far as", "where, if, up to"),
    BannedWord("all the same", "still, equal"),
    BannedWord("anew", "again"),
    BannedWord("by itself|by themselves", "automatically, alone, separately"),
    BannedWord("could be had|had back|be won|is won|win back", "would be saved"),
    BannedWord("house", "package, module"),
    BannedWord(r"guests?|visits?(?! (?:all|each|every)\b)|visitors?", "injected code, entry"),
    BannedWord("landing|landed", "injected code, entered"),
    BannedWord("farewell", "exit message"),
    BannedWord("sacred", "must not be harmed"),
    BannedWord("surer|sure:", "confidence"),
    BannedWord("now costs", "current cost"),
    BannedWord("in vain|again and again|now and then|last word", "a plain verb"),
    BannedWord("mended?|mends", "repaired, fixed"),
    BannedWord(r"colour\w*|behaviours?|favour\w*|neighbour\w*", "American spelling"),
    BannedWord(
        r"\w*(?:synchron|normal|util|recogn|optim|initial|serial|organ|summar|minim|maxim|capital)"
        r"is(?:e|es|ed|ing|ation|ations|able)",
        "American spelling: -ize",
    ),
    BannedWord("analyse|analysed|analyser|analysing|labelled|labelling", "American spelling"),
    BannedWord("speed-ups?|data sets?|run-time", "speedup, dataset, runtime"),
)

BANNED_NAMES = frozenset({"one", "own", "mine", "told", "said", "here", "ours", "theirs"})
"""Names that say nothing about what the variable, the parameter or the function holds."""
