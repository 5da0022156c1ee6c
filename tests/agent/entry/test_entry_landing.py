"""The machine code is the assembly beside it, and both agree on where things lie."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from perfscope.agent.entry import landing, stub

SOURCE = Path(landing.__file__).with_name("landing.s")


def test_the_code_is_the_assembled_source(tmp_path: Path) -> None:
    if not shutil.which("as") or not shutil.which("objcopy"):
        pytest.skip("no assembler (binutils) here")
    subprocess.run(["as", SOURCE, "-o", tmp_path / "landing.o"], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", tmp_path / "landing.o", tmp_path / "code"], check=True)
    assert (tmp_path / "code").read_bytes() == landing.CODE
    symbols = subprocess.run(["nm", tmp_path / "landing.o"], capture_output=True, text=True, check=True).stdout
    places = {line.split()[2]: int(line.split()[0], 16) for line in symbols.splitlines()}
    assert places["arrive"] == landing.ARRIVE_DOOR
    assert places["pending"] == landing.PENDING_DOOR
    assert places["thread_main"] == landing.THREAD_DOOR


def test_both_sides_agree_on_the_data_page() -> None:
    offsets = {name: int(at) for name, at in re.findall(r"\.set\s+(\w+), (\d+)", SOURCE.read_text())}
    assert offsets["CLAIMED"] == landing.CLAIMED_AT
    assert offsets["PENDING"] == landing.PENDING_AT
    assert offsets["LEAVING"] == landing.LEAVING_AT
    assert offsets["THREAD"] == landing.THREAD_AT
    assert offsets["TEXT"] == landing.TEXT_AT
    assert offsets["ERRNO_AT"] == landing.ERRNO_AT
    assert offsets["ERRNO_BEFORE"] == landing.ERRNO_AT + 8
    assert offsets["PAGE"] == landing.PAGE_BYTES
    names = landing.TABLE_NAMES
    laid = landing.Landing(b"text", base=0x10000)
    image = laid.data_image({name: 1000 + number for number, name in enumerate(names)})
    words = {at: int.from_bytes(image[at : at + 8], "little") for at in range(0, landing.TEXT_AT, 8)}
    assert words[offsets["BASE"]] == 0x10000
    assert words[offsets["LENGTH"]] == 2 * landing.PAGE_BYTES
    assert words[offsets["THREAD_MAIN"]] == 0x10000 + landing.THREAD_DOOR
    assert words[offsets["SIGNAL_MASK"]] == landing.THREAD_MASK
    table: tuple[str, ...] = (
        "PTHREAD_CREATE",
        "PTHREAD_SELF",
        "PTHREAD_DETACH",
        "PTHREAD_SIGMASK",
        "MUNMAP",
        "PY_IS_INITIALIZED",
    )
    table += ("GIL_ENSURE", "GIL_RELEASE", "DICT_NEW", "RUN_STRING", "ERR_CLEAR", "DEC_REF")
    table += ("ERRNO_LOCATION", "MPROTECT", "ADD_PENDING_CALL")
    assert [words[offsets[name]] for name in table] == [1000 + number for number in range(len(names))]
    assert image[landing.TEXT_AT :] == b"text\0"


def test_state_is_only_believed_with_its_token() -> None:
    laid = landing.Landing(b"")
    image = laid.data_image(dict.fromkeys(landing.TABLE_NAMES, 0))
    assert laid.state(image) == landing.State(claimed=False, pending=False, failed=0, began=False)
    assert landing.Landing(b"").state(image) is None
    assert laid.state(image[:10]) is None


@pytest.mark.parametrize("version", [None, 0x030B00A1, 0x02070CF0])
def test_a_source_for_another_version_travels_as_source(version: int | None) -> None:
    namespace: dict[str, object] = {}
    stub_text = stub.text("import __main__; __main__.entry_test_mark = 'é' * 3", __import__("os").getpid(), version)
    exec(stub_text, namespace)
    import __main__

    assert __main__.__dict__.pop("entry_test_mark") == "ééé"
