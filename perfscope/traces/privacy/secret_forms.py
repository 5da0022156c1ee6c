"""The forms of secrets: what begins a token of a service, a private key, and secrets in URLs."""

import re
from typing import Final

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
    "xai-": r"xai-[A-Za-z0-9]{20,}",
    "tgp_v1_": r"tgp_v1_[\w-]{16,}",
    "pplx-": r"pplx-[A-Za-z0-9]{20,}",
    "csk-": r"csk-[A-Za-z0-9]{20,}",
    "lsv2_": r"lsv2_(?:pt|sk)_[0-9a-f]{16,}\w*",
    "pcsk_": r"pcsk_[\w-]{20,}",
    "rpa_": r"rpa_[A-Z0-9]{20,}",
    "jina_": r"jina_[0-9a-f]{16,}[\w-]*",
    "api_org_": r"api_org_[A-Za-z]{20,}",
    "dapi": r"dapi[0-9a-f]{32}",
    "KGAT_": r"KGAT_[0-9a-f]{16,}",
    "glsa_": r"glsa_\w{20,}",
    "sntry": r"sntry[su]_[\w+/=-]{20,}",
    "tskey-": r"tskey-[a-z]{2,12}-[\w-]{8,}",
    "AGE-SECRET-KEY-": r"AGE-SECRET-KEY-[A-Z0-9]{20,}",
    "GOCSPX-": r"GOCSPX-[\w-]{16,}",
    "1//0": r"1//0[\w-]{20,}",
    "whsec_": r"whsec_[\w+/=-]{16,}",
    "glptt-": r"glptt-[\w-]{16,}",
    "gldt-": r"gldt-[\w-]{16,}",
    "glrt-": r"glrt-[\w-]{16,}",
    "glcbt-": r"glcbt-[\w-]{16,}",
    "glsoat-": r"glsoat-[\w-]{16,}",
    "ATATT3": r"ATATT3[\w=-]{20,}",
    "ATCTT3": r"ATCTT3[\w=-]{20,}",
    "IQoJb3JpZ2lu": r"IQoJb3JpZ2lu[\w+/=-]{20,}",
    "FwoGZXIvYXdz": r"FwoGZXIvYXdz[\w+/=-]{20,}",
    "discord.com/api/webhooks": r"discord\.com/api/webhooks/[\w/-]+",
    "webhook.office.com": r"webhook\.office\.com/webhookb2/[\w@/-]+",
    "api.telegram.org": r"api\.telegram\.org/bot[\w:-]+",
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
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY[A-Z ]{0,40}-----.*?"
    r"(?:-----END [A-Z ]{0,40}PRIVATE KEY[A-Z ]{0,40}-----|\Z)",
    re.S,
)
URL_SECRET: Final = re.compile(
    r"((?::|\\:)\\{0,15}/\\{0,15}/)"
    r"(?:[^/\s?#\\]+|[^/\s?#:@\\\"']{0,128}:(?!\d{1,5}[/?#])[^\s@\"']{1,256})(?=@)"
)
"""User and password, which may contain `/` and `#`; not a port with the path after it."""
ENCODED_URL_SECRET: Final = re.compile(
    r"(?i)(%(?:25)?3a%(?:25)?2f%(?:25)?2f)(?:[\w.~+-]|%(?!(?:25)?(?:40|2f))[0-9a-f]{2}){1,256}"
    r"(?=%(?:25)?40)",
    re.ASCII,
)
"""The same in a URL that is a value in another one."""
BEARER: Final = re.compile(r"(?ai)(?<![a-z])(bearer(?:\s{1,4}|%20|\+))[\w.~+/=-]{6,}")
BASIC: Final = re.compile(
    r"(?ai)(?<![a-z])(basic\s{1,4})(?=[a-z+/]{0,64}[0-9])[a-z0-9+/]{12,}={0,2}"
)
BEARERS: Final = ("earer ", "EARER ", "earer%20", "EARER%20", "earer+", "EARER+")
ENCODED_SCHEMES: Final = ("3A%2F%2F", "3a%2f%2f", "3A%252F%252F", "3a%252f%252f")
FORM_HINTS: Final = (
    *FORMS,
    *ENCODED_SCHEMES,
    "PRIVATE KEY",
    "://",
    ":\\",
    *BEARERS,
    "asic ",
    "ASIC ",
)
