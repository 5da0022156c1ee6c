"""The machine code is the assembled source, and Python and assembly agree on the layout."""

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from perfscope.agent.entry import injected_page, injected_source, restoring_call

SOURCE = Path(injected_page.__file__).with_name("injected_page.s")
CALL_SOURCE = SOURCE.with_name("restoring_call.s")


def assemble(source: Path, folder: Path) -> tuple[bytes, dict[str, int]]:
    """Return the machine code of `source`, and the value of each symbol in it."""
    if not shutil.which("as") or not shutil.which("objcopy"):
        pytest.skip("no assembler (binutils)")
    subprocess.run(["as", source, "-o", folder / "object.o"], check=True)
    subprocess.run(
        ["objcopy", "-O", "binary", "-j", ".text", folder / "object.o", folder / "code"], check=True
    )
    symbols = subprocess.run(
        ["nm", folder / "object.o"], capture_output=True, text=True, check=True
    ).stdout
    return (folder / "code").read_bytes(), {
        line.split()[2]: int(line.split()[0], 16) for line in symbols.splitlines()
    }


def test_the_code_is_the_assembled_source(tmp_path: Path) -> None:
    code, symbols = assemble(SOURCE, tmp_path)
    assert code == injected_page.CODE
    assert symbols["arrive"] == injected_page.ARRIVE_AT
    assert symbols["start"] == injected_page.START_AT
    assert symbols["pending"] == injected_page.PENDING_CALL_AT
    assert symbols["thread_main"] == injected_page.THREAD_AT


def test_the_code_of_the_calls_is_the_assembled_source(tmp_path: Path) -> None:
    code, symbols = assemble(CALL_SOURCE, tmp_path)
    assert code[: restoring_call.ENTRY] == bytes(restoring_call.ENTRY)
    assert code[restoring_call.ENTRY :] == restoring_call.CODE
    assert symbols["call_function"] == restoring_call.ENTRY
    assert symbols["time_limit"] == restoring_call.TIME_LIMIT == restoring_call.HEAD.size
    assert symbols["returned"] == restoring_call.RETURNED
    assert symbols["RED_ZONE"] == restoring_call.RED_ZONE_BYTES
    names = (
        "function",
        "arguments",
        "return_to",
        "flags",
        "signal_mask",
        "waking",
        "xstate_bytes",
        "errno_location",
    )
    words = {
        name: 1000 + number
        for number, name in enumerate((*names, "pid", "signal"))
        if name != "arguments"
    }
    head = restoring_call.RestoringCall(arguments=(1, 2), **words).head()
    assert head[symbols["arguments"] :][:32] == struct.pack("<4Q", 1, 2, 0, 0)
    for name, value in words.items():
        size = 4 if name in ("pid", "signal") else 8
        assert int.from_bytes(head[symbols[name] :][:size], "little") == value


def test_both_sides_agree_on_the_data_page() -> None:
    offsets = {
        name: int(at) for name, at in re.findall(r"\.set\s+(\w+), (\d+)", SOURCE.read_text())
    }
    assert offsets["CLAIMED"] == injected_page.CLAIMED_AT
    assert offsets["PENDING"] == injected_page.PENDING_AT
    assert offsets["LEAVING"] == injected_page.LEAVING_AT
    assert offsets["TEXT"] == injected_page.TEXT_AT
    assert offsets["PAGE"] == injected_page.PAGE_BYTES
    names = injected_page.TABLE_NAMES
    page = injected_page.InjectedPage(b"text", base=0x10000)
    image = page.data_image({name: 1000 + number for number, name in enumerate(names)})
    words = {
        at: int.from_bytes(image[at : at + 8], "little")
        for at in range(0, injected_page.TEXT_AT, 8)
    }
    assert words[offsets["BASE"]] == 0x10000
    assert words[offsets["LENGTH"]] == 2 * injected_page.PAGE_BYTES
    assert words[offsets["THREAD_MAIN"]] == 0x10000 + injected_page.THREAD_AT
    assert words[offsets["SIGNAL_MASK"]] == injected_page.THREAD_MASK
    table: tuple[str, ...] = (
        "PTHREAD_CREATE",
        "PTHREAD_SELF",
        "PTHREAD_DETACH",
        "PTHREAD_SIGMASK",
        "MUNMAP",
        "PY_IS_INITIALIZED",
    )
    table += ("GIL_ENSURE", "GIL_RELEASE", "DICT_NEW", "RUN_STRING", "ERR_CLEAR", "DEC_REF")
    table += ("MPROTECT", "ADD_PENDING_CALL")
    assert [words[offsets[name]] for name in table] == [
        1000 + number for number in range(len(names))
    ]
    assert image[injected_page.TEXT_AT :] == b"text\0"


def test_a_page_without_the_token_has_no_state() -> None:
    page = injected_page.InjectedPage(b"")
    image = page.data_image(dict.fromkeys(injected_page.TABLE_NAMES, 0))
    assert page.state(image) == injected_page.PageState(
        claimed=False, pending=False, failed=0, began=False
    )
    assert injected_page.InjectedPage(b"").state(image) is None
    assert page.state(image[:10]) is None


@pytest.mark.parametrize("version", [None, 0x030B00A1, 0x02070CF0])
def test_a_source_for_another_version_is_sent_as_source(version: int | None) -> None:
    namespace: dict[str, object] = {}
    stub_text = injected_source.bootstrap_text(
        "import __main__; __main__.entry_test_mark = 'é' * 3", __import__("os").getpid(), version
    )
    exec(stub_text, namespace)
    import __main__

    assert __main__.__dict__.pop("entry_test_mark") == "ééé"
