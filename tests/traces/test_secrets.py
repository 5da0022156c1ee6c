"""Masking of secrets: what is a secret and what is an ordinary argument of a training program."""

import subprocess
import sys

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfscope.traces.privacy import secret_masking
from perfscope.traces.privacy.masked_trace import masked_tables, suspects
from perfscope.traces.privacy.secret_forms import FORM_HINTS
from perfscope.traces.privacy.secret_masking import (
    mask_secrets,
    mask_text,
    mask_values,
    masked_text,
)
from perfscope.traces.privacy.secret_names import MASK
from tests.safety.secret_samples import BY_FORM, BY_NAME, CORE

ORDINARY = [
    ["python", "train.py", "--lr", "3e-4", "-p", "8080", "--keep", "3", "--author", "Ada"],
    [
        "--tokenizer",
        "gpt2",
        "--max-tokens",
        "512",
        "--max_new_tokens",
        "20",
        "--token-type-ids",
        "0,1",
    ],
    ["--num_key_value_heads", "8", "key_cache=True", "monkey=1", "--keyword", "x", "--hotkey", "a"],
    [
        "--pad-token",
        "<pad>",
        "--eos_token",
        "</s>",
        "bos_token=<s>",
        "--image-key",
        "jpg",
        "--text_key",
        "text",
    ],
    [
        "--revision",
        "9fceb02d0ae598e95dc970b74767f19372d61af8",
        "git-9fceb02d0ae598e95dc970b74767f19372d61af8",
    ],
    ["lr=3e-4,wd=0.1,betas=0.9-0.95", "--hparams", '{"lr": 0.1, "tokens": 4096, "key_dim": 64}'],
    [
        "--use-auth-token",
        "train.py",
        "use_auth_token=True",
        "--token",
        "true",
        "--num-passes",
        "3",
        "--pass",
        "2",
    ],
    [
        "--password-file",
        "/run/secrets/password",
        "--key-file=/etc/key.pem",
        "--public-key",
        "ssh-ed25519",
    ],
    [
        "--model",
        "hf_transformers",
        "--model=hf_checkpoints",
        "sk-learn",
        "sk-learn-extra",
        "npm_config",
        "pypi-mirror",
    ],
    [
        "--data",
        "https://host/x?a=1&page=2",
        "s3://bucket/key/part-0",
        "--sort-key",
        "date",
        "PWD=/home/user",
    ],
    [
        "torchrun",
        "--rdzv-endpoint",
        "host:29500",
        "--master_port=29400",
        "--norm",
        "pass_through",
        "cross-attention",
    ],
    [
        "--keys",
        "image,label",
        "--keys=input_ids",
        "-p8080",
        "sig=float64(int64)",
        "--signature=serving_default",
    ],
    [
        "-X",
        "importtime",
        "--compass",
        "n",
        "--authority",
        "x",
        "--tokens-per-batch",
        "4096",
        "auth_required=no",
    ],
]
NAMES = [
    "ProfilerStep#12",
    "Optimizer.step#Adam.step",
    "aten::scaled_dot_product_attention",
    "void at::native::(anonymous namespace)::sort_keys<256, 4, T = float>(int*, key::Type)",
    "load (secrets.py:12);get_token (api_key.py:3);forward (auth.py:120)",
    "nn.Module: KeyValueCache_0",
    "token 12",
    "generate: token 3 of 12",
    "[memory]",
]


@pytest.mark.parametrize("command", ORDINARY, ids=lambda command: command[0])
def test_ordinary_arguments_stay_as_they_are(command: list[str]) -> None:
    assert mask_secrets(command) == command


@pytest.mark.parametrize("name", NAMES)
def test_names_of_a_trace_stay_as_they_are(name: str) -> None:
    assert mask_text(name) == name


@pytest.mark.parametrize("name", BY_NAME)
def test_the_value_of_an_option_with_the_name_of_a_secret_is_masked(name: str) -> None:
    masked = mask_secrets(["python", "train.py", *BY_NAME[name], "--lr", "3"])
    assert CORE not in " ".join(masked) and MASK in " ".join(masked)
    assert (masked[:2], masked[-2:]) == (["python", "train.py"], ["--lr", "3"])


@pytest.mark.parametrize("form", BY_FORM)
@pytest.mark.parametrize(
    "around",
    ["{}", "--run={}", "a {} b", "({})", '["{}"]', "x={};y=1", "https://host/{}/x", "run/{}"],
)
def test_text_in_the_form_of_a_secret_is_masked_everywhere(form: str, around: str) -> None:
    text = around.format(BY_FORM[form])
    assert CORE not in mask_secrets([text])[0] and CORE not in mask_text(text)
    assert MASK in mask_text(text)


@pytest.mark.parametrize(
    ("word", "masked"),
    [
        ('{"token": "%s", "lr": 0.1}', '{"token": "***", "lr": 0.1}'),
        ('{"a": {"api_key":"%s"}}', '{"a": {"api_key":"***"}}'),
        ("https://h/x?a=1&token=%s&b=2", "https://h/x?a=1&token=***&b=2"),
        ("https://user:%s@h/x", "https://***@h/x"),
        (
            "export HF_TOKEN=%s; python train.py --lr 3",
            "export HF_TOKEN=***; python train.py --lr 3",
        ),
        ("X-Api-Key: %s", "X-Api-Key: ***"),
        ("f(token='%s', x=1)", "f(token='***', x=1)"),
        ("+wandb.api_key=%s", "+wandb.api_key=***"),
    ],
)
def test_the_rest_of_a_text_stays_readable(word: str, masked: str) -> None:
    assert mask_secrets([word % CORE]) == [masked]
    assert mask_text(word % CORE) == masked


@pytest.mark.parametrize(
    "text",
    [
        "next=%3Dghp_a1B2c3d4e5f6",
        r"ValueError('\nghp_a1B2c3d4e5f6')",
        "\x1b[31mghp_a1B2c3d4e5f6\x1b[0m",
        r"\u003dhf_A1b2C3d4E5f6G7h8I9",
        "password:=a1B2c3d4e5f6",
        "password=:a1B2c3d4e5f6",
        "HF_TOKEN=b'a1B2c3d4e5f6'",
        "environ({b'HF_TOKEN': b'a1B2c3d4e5f6'})",
        'api_key: rf"a1B2c3d4e5f6"',
        "postgres://user:p/a1B2c3d4e5f6@host/db",
        "redis://:p#a1B2c3d4e5f6@host",
        r"https:\/\/user:a1B2c3d4e5f6@host",
        r"https:\\/\\/user:a1B2c3d4e5f6@host",
        "'password' => 'a1B2c3d4e5f6'",
        "curl -H 'Token:a1B2c3d4e5f6' host",
        "sh -c 'sshpass -p a1B2c3d4e5f6 ssh host'",
        "cd /tmp; mysql -h host -pa1B2c3d4e5f6",
        "curl -s --user me:a1B2c3d4e5f6 host",
        "os.environ['HF_TOKEN'] = 'a1B2c3d4e5f6'",
        "os.environ.setdefault('WANDB_API_KEY', 'a1B2c3d4e5f6G7h8i9')",
        "os.putenv('DB_PASSWORD', 'a1B2c3d4e5f6')",
        "fields = [('password', 'a1B2c3d4e5f6')]",
        "subprocess.run(['x', '--api-key', 'a1B2c3d4e5f6'])",
        '["--api-key","a1B2c3d4e5f6"]',
        'TOKEN: Final = "a1B2c3d4e5f6"',
        "def f(token: str | None = 'a1B2c3d4e5f6'):",
        "api_key: Optional[str] = 'a1B2c3d4e5f6'",
        'token = """a1B2c3d4e5f6"""',
        "token = r'''a1B2c3d4e5f6'''",
        "auth=('user', 'a1B2c3d4e5f6G7h8i9')",
        "password = HTTPBasicAuth('u', 'a1B2c3d4e5f6')",
        "token = os.getenv('HF_TOKEN') or 'a1B2c3d4e5f6G7h8i9'",
        '"credentials": {"value": "a1B2c3d4e5f6"}',
        '{"name": "HF_TOKEN", "value": "a1B2c3d4e5f6"}',
        "- name: HF_TOKEN\n  value: a1B2c3d4e5f6",
        "<password>a1B2c3d4e5f6</password>",
        "next=https%3A%2F%2Fhost%3Ftoken%3Da1B2c3d4e5f6",
        "host/x?access%5Ftoken=a1B2c3d4e5f6",
        "Authorization%3A%20Bearer%20a1B2c3d4e5f6",
        "HF_TOKEN_WRITE=a1B2c3d4e5f6G7h8i9",
        "API_KEY_PROD='a1B2c3d4e5f6G7h8i9'",
        "--token-value a1B2c3d4e5f6G7h8i9",
        "java -Dtoken=a1B2c3d4e5f6 x",
        "mysqldump -u x -pa1B2c3d4e5f6 db",
        '{"token"      :      "a1B2c3d4e5f6"}',
        '{"password":\n            "a1B2c3d4e5f6"}',
        "api_key         = a1B2c3d4e5f6",
        "x --token \\\n    a1B2c3d4e5f6",
        "auth[password]=a1B2c3d4e5f6",
        "?token[0]=a1B2c3d4e5f6",
        "${DB_TOKEN:-a1B2c3d4e5f6}",
        "TOKEN=$'a1B2c3d4e5f6' run",
        "PASSWORD='x'\"'\"'a1B2c3d4e5f6' run",
        "PASSWORD='x'\\''a1B2c3d4e5f6' run",
        "setenv HF_TOKEN a1B2c3d4e5f6",
        "aws configure set aws_secret_access_key a1B2c3d4e5f6",
        "password: |\n  line\n  a1B2c3d4e5f6\n",
        "token: >-\n    a1B2c3d4e5f6",
        'Authorization: Digest username="u", response="a1B2c3d4e5f6"',
        "os.environ.setdefault('HF_TOKEN', 'a1B2c3d4e5f6')",
        "os.putenv('HF_TOKEN', 'a1B2c3d4e5f6')",
        "os.getenv('HF_TOKEN', 'a1B2c3d4e5f6')",
        '{"Name":"HF_TOKEN","Value":"a1B2c3d4e5f6"}',
        '{"name":"HF_TOKEN","type":"secure","value":"a1B2c3d4e5f6"}',
        '{"value":"a1B2c3d4e5f6","name":"HF_TOKEN"}',
        "<ns:password type='text'>a1B2c3d4e5f6</ns:password>",
        "next=%252Fx%253Ftoken%253Da1B2c3d4e5f6%2526b%253D1",
        "next=https%3A%2F%2Fuser%3Aa1B2c3d4e5f6%40host%2Fx",
        "--hftoken a1B2c3d4e5f6",
        "GITHUBTOKEN=a1B2c3d4e5f6",
    ],
)
def test_secrets_in_unusual_surroundings_are_masked(text: str) -> None:
    masked = masked_text(text)
    assert "a1B2" not in masked and "A1b2" not in masked and MASK in masked
    assert masked_text(masked) == masked
    assert suspects([pd.Index([text])]) == [[0]]


@pytest.mark.parametrize(
    "text",
    [
        "http://host:8080/a@b",
        "see http://host:80/path?q=me@b.org",
        "mysql -h host",
        "loss := 5",
        "cannot start /etc/passwd: Permission denied",
        "def f(token: str, key: int = 0) -> None:",
        "api_key: str | None",
        "columns = ['key', 'value', 'token', 'text']",
        "batch['tokens'] = tokenizer(text, padding='max_length')",
        "for key, value in state.items():",
        "token_type_ids=tensor([0, 1]), --token_classes BertForTokenClassification",
        "sort_keys<Key>(void const*) [clone .kd]<Token>",
        '{"name": "token_count", "value": 512}',
        "subtoken=1a detoken=x maxtoken=9 eostoken=a padtoken=<pad>",
        "next=https%3A%2F%2Fhost%2Fa%40b",
        "[token] = x; keys[0] == 5",
        "${KEY:?missing}",
    ],
)
def test_ordinary_texts_with_such_signs_stay(text: str) -> None:
    assert masked_text(text) == text


@pytest.mark.parametrize(
    ("command", "masked"),
    [
        (["curl", "-H", "Token:a1B2c3d4", "host"], ["curl", "-H", f"Token: {MASK}", "host"]),
        (["train", "--token", "-S3cretValue", "x"], ["train", "--token", MASK, "x"]),
        (["train", "--token", "-v"], ["train", "--token", "-v"]),
    ],
)
def test_values_that_look_like_options_or_headers(command: list[str], masked: list[str]) -> None:
    assert mask_secrets(command) == masked


def test_masked_text_is_not_changed_again() -> None:
    for words in BY_NAME.values():
        once = mask_secrets(words)
        assert mask_secrets(once) == once
    for text in BY_FORM.values():
        assert masked_text(masked_text(text)) == masked_text(text)


def test_values_are_masked_at_any_depth_and_keys_stay() -> None:
    value = {"HF_TOKEN": ["a", {"b": f"key={CORE}"}], "n": 1, "none": None, "real": 0.5}
    assert mask_values(value) == {
        "HF_TOKEN": ["a", {"b": "key=***"}],
        "n": 1,
        "none": None,
        "real": 0.5,
    }


PIECES = st.sampled_from(
    [*BY_FORM.values(), *(word for words in BY_NAME.values() for word in words), *NAMES]
    + [
        "token",
        "key",
        "KEY",
        "pass",
        "=",
        ":",
        ": ",
        " ",
        "--",
        "-",
        "'",
        '"',
        "\\",
        "\n",
        "\x0b",
        "\0",
        "K",
        "ſ",
        "&",
        "?",
        ".",
    ]
    + [
        "Bearer ",
        "sig",
        "code",
        "pat",
        "Cookie",
        "authorization",
        "ünïcode",
        "a",
        "x-",
        "[",
        "]",
        "{",
        "}",
        ",",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.lists(PIECES, max_size=6).map("".join), min_size=1, max_size=8, unique=True))
def test_the_quick_search_finds_everything_that_is_masked(texts: list[str]) -> None:
    (found,) = suspects([pd.Index(texts, dtype=object)])
    assert {at for at, text in enumerate(texts) if masked_text(text) != text} <= set(found)


def test_names_that_become_equal_are_one_category() -> None:
    names = pd.Categorical([f"key={CORE}1", "plain", f"key={CORE}2", None])
    table = pd.DataFrame({"name": names, "ts": range(4)})
    masked = masked_tables({"ranges": table})["ranges"]
    assert (
        masked["name"].astype(object).tolist()[:3] == ["key=***", "plain", "key=***"]
        and masked["name"].isna()[3]
    )
    assert sorted(masked["name"].cat.categories) == ["key=***", "plain"]
    plain = {"ranges": masked}
    assert masked_tables(plain)["ranges"] is masked


REPEATED = [
    *FORM_HINTS,
    *secret_masking.NAME_HINTS,
    "'key', ",
    "key: a[",
    "key=(",
    "token='''",
    "<key>a",
    "key%3D",
    "name: key value ",
    '["key"]',
    "a",
    "-",
    "=",
    ":",
    '"',
    "\\",
    "[",
    " ",
    "@",
    "://a@",
    "eyJa-",
    "x.y",
]
REPEATED += [
    f"key{sign}{opening}"
    for sign in ("=", ": ", ":", " ")
    for opening in ("", '"', "'", '\\"', "[", "1")
]


def test_masking_takes_linear_time() -> None:
    """An eighth of a megabyte of each takes a few seconds in all; were one of them quadratic, it
    would take many minutes.
    """
    code = (
        "import sys; from perfscope.traces.privacy.secret_masking import masked_text;"
        "[masked_text(piece * ((1 << 17) // len(piece))) for piece in sys.argv[1:]]"
    )
    subprocess.run([sys.executable, "-c", code, *REPEATED], check=True, timeout=400)
