"""The prompts of a blind test. The shipped ones test what PLADIS is about: counts, colours, places, who does what."""

from __future__ import annotations

from lib_pladis.webui.blind.blind_test import BlindTestError

BOX, LINES, SENTENCES, TAGS = "The prompt box", "Lines of my own", "24 prompts", "24 prompts in tags"
SOURCES = (BOX, LINES, SENTENCES, TAGS)
MOST_PROMPTS, LONGEST = 200, 4_000

SHIPPED: tuple[tuple[str, str], ...] = (
    ("two cats and one dog on a sofa", "no humans, 2cats, 1dog, sitting, couch, indoors"),
    ("three apples in a wooden bowl", "no humans, still life, three apples, wooden bowl, table"),
    ("four candles on a birthday cake", "no humans, birthday cake, four candles, food, table"),
    ("a street with exactly two parked bicycles", "no humans, street, two bicycles, outdoors"),
    ("five balloons over a hill", "no humans, five balloons, hill, sky, outdoors"),
    ("one woman and three children at a lake", "1woman, 3children, lake, standing, outdoors"),
    ("a red cube and a blue ball on a white table", "no humans, red cube, blue ball, white table"),
    ("a yellow bird on a green bench", "no humans, yellow bird, green bench, park, outdoors"),
    ("a man in a purple coat with an orange umbrella", "1man, purple coat, orange umbrella, rain, outdoors"),
    ("a black horse beside a white cow", "no humans, black horse, white cow, side-by-side, field"),
    ("a girl with green hair and a red scarf", "1girl, green hair, red scarf, upper body"),
    ("a pink car in front of a blue house", "no humans, pink car, blue house, outdoors"),
    ("a book to the left of a lamp", "no humans, book on left, lamp on right, desk"),
    ("a cat under a chair and a hat on the chair", "no humans, cat under chair, hat on chair, indoors"),
    ("a clock above a door", "no humans, door, clock above door, wall, indoors"),
    ("a lighthouse on the right, a boat on the left", "no humans, lighthouse on right, boat on left, sea"),
    ("a teapot between two cups", "no humans, teapot, two cups, teapot between cups, table"),
    ("a dog in front of a tree, a house behind the tree", "no humans, dog, tree, house in background, outdoors"),
    ("a dog chasing a cat", "no humans, dog chasing cat, running, grass, outdoors"),
    ("a woman painting a portrait of a man", "1woman, 1man, woman painting, portrait of man, easel"),
    ("a robot handing a flower to a child", "robot, 1child, robot giving flower, flower, child reaching out"),
    ("a bear riding a bicycle past a standing man", "bear riding bicycle, 1man, man standing, road, outdoors"),
    ("a boy reading a book to an old man", "1boy, old man, boy reading book, old man listening, indoors"),
    ("a knight kneeling before a queen", "1knight, 1queen, knight kneeling, queen standing, throne room"),
)
"""As a sentence, and as tags for models trained on tags: six each of counts, colours, places and actions."""


def chosen(source: str, lines: str, box: str) -> list[str]:
    """The prompts of one of SOURCES; `lines`: the user's own, `box`: the web UI's prompt. Raises BlindTestError."""
    if source not in SOURCES:
        raise BlindTestError(f"Blind test: got prompts {source!r}, allowed: {', '.join(map(repr, SOURCES))}")
    if source in (SENTENCES, TAGS):
        return [each[source == TAGS] for each in SHIPPED]
    found = [box] if source == BOX else list(dict.fromkeys(line.strip() for line in lines.splitlines() if line.strip()))
    if not found or len(found) > MOST_PROMPTS or any(len(each) > LONGEST for each in found):
        raise BlindTestError(
            f"Blind test: got {len(found)} prompts, allowed: 1 to {MOST_PROMPTS}, of at most {LONGEST} letters"
        )
    return found
