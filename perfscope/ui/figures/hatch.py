"""The textures of the budget categories as patterns of bars."""

from perfscope.ui.theme import texture


def hatch(name: str) -> dict[str, object]:
    """Return the texture of a category as the pattern of a bar."""
    overlaid: dict[str, object] = {"fillmode": "overlay", "size": 6}
    textures = {
        "wait": {"shape": "/", "fgcolor": "#ffffff", "fgopacity": 0.3, "solidity": 0.3, **overlaid},
        "undivided": {
            "shape": ".",
            "fgcolor": "#000000",
            "fgopacity": 0.22,
            "solidity": 0.22,
            **overlaid,
        },
    }
    return textures.get(texture(name), {"shape": ""})
