"""What NVML offers on this machine, in a line: for `perfscope doctor`."""

from perfscope.agent.nvml.device_reader import BY_GPM, Card, cards
from perfscope.agent.nvml.door import opened

GROUPS = {
    "load and clocks": ("kernel_time_share", "sm_clock_mhz"),
    "energy": ("energy_j",),
    "SM, tensor and DRAM activity (GPM)": (BY_GPM,),
    "NVLink bytes": ("nvlink_tx_bytes",),
    "PCIe bytes": ("pcie_tx_bytes",),
    "throttle reasons": ("clock_events",),
    "time held by power and temperature": ("held_power_ns", "held_thermal_ns"),
    "ECC errors": ("ecc_uncorrected_count",),
}


def offer() -> tuple[str, list[str]]:
    """Devices by name, what can be read of them, and what cannot with the reason; and which devices
    do not answer, with why.

    Raises CollectorUnavailable.
    """
    door, silent = opened(), dict[int, str]()
    found = cards(door, silent)
    lost = [f"device {at} does not answer: {why}" for at, why in silent.items()]
    if not found:
        return "no device answers", lost
    whole = [card for card in found if card.whole is None]
    names: dict[str, int] = {}
    for card in whole:
        names[card.facts.name] = names.get(card.facts.name, 0) + 1
    devices = ", ".join(
        name if count == 1 else f"{count} x {name}" for name, count in names.items()
    )
    parts = f" and {len(found) - len(whole)} MIG instances" if len(found) > len(whole) else ""
    can: list[str] = []
    cannot: list[str] = []
    for group, counters in GROUPS.items():
        reason = why_not(found, counters)
        (can if reason is None else cannot).append(
            group if reason is None else f"{group}: {reason}"
        )
    for card in found:
        card.close(door)
    text = f"works: {devices}{parts}, driver {whole[0].facts.driver}; {', '.join(can)}"
    return text + (f". Not here: {'; '.join(cannot)}" if cannot else ""), lost


def why_not(found: list[Card], counters: tuple[str, ...]) -> str | None:
    """Why none of the devices has these counters; None where one has."""
    reasons = [
        next((card.facts.missing[name] for name in counters if name in card.facts.missing), None)
        for card in found
    ]
    return None if None in reasons else reasons[0]
