"""The words of the captions: phrasings of the places, and words that mean nothing here."""

from __future__ import annotations

# {0}, {1}, {2} are the objects in the order in which the scene lists them.
RELATIONS: dict[str, tuple[str, ...]] = {
    "left": (
        "{0} left of {1}",
        "{0} left of {1}",
        "{0} to the left of {1}",
        "{0} on the left of {1}",
        "{0} on the left, {1} on the right",
        "{0} on the left and {1} on the right",
        "on the left {0}, on the right {1}",
    ),
    "right": (
        "{0} right of {1}",
        "{0} right of {1}",
        "{0} to the right of {1}",
        "{0} on the right of {1}",
        "{0} on the right, {1} on the left",
        "{0} on the right and {1} on the left",
        "on the right {0}, on the left {1}",
    ),
    "top": (
        "{0} above {1}",
        "{0} above {1}",
        "{0} over {1}",
        "{0} at the top, {1} at the bottom",
        "{0} at the top and {1} at the bottom",
        "at the top {0}, at the bottom {1}",
    ),
    "bottom": (
        "{0} below {1}",
        "{0} below {1}",
        "{0} under {1}",
        "{0} beneath {1}",
        "{0} at the bottom, {1} at the top",
        "{0} at the bottom and {1} at the top",
        "at the bottom {0}, at the top {1}",
    ),
    "row": (
        "{0}, {1} and {2} in a row",
        "a row of {0}, {1} and {2}",
        "from left to right {0}, {1}, {2}",
        "{0} left of {1} left of {2}",
    ),
    "column": (
        "{0}, {1} and {2} in a column",
        "a column of {0}, {1} and {2}",
        "from top to bottom {0}, {1}, {2}",
        "{0} above {1} above {2}",
    ),
    "two over one": (
        "{0} left of {1}, both above {2}",
        "{0} and {1} above {2}",
        "{0} on the left and {1} on the right, above {2}",
    ),
    "one over two": (
        "{0} left of {1}, both below {2}",
        "{0} and {1} below {2}",
        "{0} on the left and {1} on the right, below {2}",
    ),
}

SPOTS: dict[str, tuple[str, ...]] = {
    "left": ("on the left", "at the left", "on the left side"),
    "right": ("on the right", "at the right", "on the right side"),
    "top": ("at the top", "on the top side"),
    "bottom": ("at the bottom", "on the bottom side"),
    "top left": ("in the top left", "in the top left corner", "at the top left"),
    "top right": ("in the top right", "in the top right corner", "at the top right"),
    "bottom left": ("in the bottom left", "in the bottom left corner", "at the bottom left"),
    "bottom right": ("in the bottom right", "in the bottom right corner", "at the bottom right"),
    "centre": ("in the centre", "in the center", "in the middle"),
}

OPENINGS = (
    "a photo of ",
    "a picture of ",
    "a drawing of ",
    "an image of ",
    "a painting of ",
    "an illustration of ",
    "a simple drawing of ",
    "a clean picture of ",
    "there is ",
    "draw ",
)

ENDINGS = (
    " on a plain background",
    ", plain background",
    ", on a white background",
    ", simple",
    ", clean lines",
    ", high quality",
    ", flat design",
    ".",
)

DISTRACTORS = tuple(
    """
    masterpiece best quality highres detailed intricate sharp focus photo realistic beautiful
    elegant digital art artstation trending cinematic lighting studio soft warm cool calm quiet
    bright dark morning evening night summer winter spring autumn rain snow wind cloud sky sea river
    lake mountain forest tree flower grass stone sand road bridge house window door roof garden
    table chair lamp book paper pencil brush canvas frame museum gallery poster sticker icon logo
    pattern texture wood metal glass plastic cotton silk leather marble old new modern vintage retro
    classic minimal abstract geometric playful serious happy sad funny strange ordinary famous small
    large tiny huge tall wide long short thick thin light heavy fast slow early late dog cat bird
    fish horse bear lion tiger rabbit mouse man woman child king queen robot car train boat plane
    bicycle city street village castle tower music song dance dream story coffee tea bread cake
    apple lemon sugar salt water fire earth air gold silver copper very really quite nicely drawn
    made today yesterday always never somewhere perhaps with by for from style inspired award
    winning hd uhd render vector artwork concept
    """.split()
)
