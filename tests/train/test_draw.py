"""What a picture must show: the right colours, inside the right boxes, visible and repeatable."""

import colorsys
import random
from collections import Counter
from functools import cache

import pytest
from PIL import Image, ImageChops

from train.cartoon.draw import PURE_COLORS, draw_scene
from train.cartoon.scene import (
    BACKGROUNDS,
    COLORS,
    HELD_OUT_PAIRS,
    KINDS,
    SIGN_WORDS,
    Scene,
    Thing,
    make_scene,
)

# The middle of what people call by each name.
REFERENCES = {**PURE_COLORS, "blue": (25, 70, 225)}

Box = tuple[int, int, int, int]


def _scene(kind: str, color: str, background: str, seed: int, radius: float = 0.17) -> Scene:
    word = SIGN_WORDS[seed % len(SIGN_WORDS)] if kind == "sign" else ""
    size = "large" if radius > 0.12 else "small"
    thing = Thing(kind=kind, color=color, size=size, x=0.5, y=0.5, radius=radius, word=word)
    return Scene(seed=seed, background=background, things=(thing,))


def _box(thing: Thing, size: int) -> Box:
    reach = thing.radius * size
    left, top = thing.x * size - reach, thing.y * size - reach
    return (round(left), round(top), round(left + 2 * reach), round(top + 2 * reach))


def _pixels(picture: Image.Image) -> list[tuple[int, int, int]]:
    data = picture.tobytes()
    return list(zip(data[0::3], data[1::3], data[2::3], strict=True))


def _changed(scene: Scene, box: Box, size: int = 96) -> list[tuple[int, int, int]]:
    """Pixels in a box that clearly differ from the same picture without its things."""
    empty = Scene(seed=scene.seed, background=scene.background, things=())
    pairs = zip(
        _pixels(draw_scene(scene, size).crop(box)),
        _pixels(draw_scene(empty, size).crop(box)),
        strict=True,
    )
    return [seen for seen, behind in pairs if _gap(seen, behind) > 40]


def _gap(color: tuple[int, int, int], other: tuple[int, int, int]) -> int:
    return max(abs(color[0] - other[0]), abs(color[1] - other[1]), abs(color[2] - other[2]))


@cache
def _color_name(color: tuple[int, int, int]) -> str:
    """The nearest reference, hue being worth more than depth and brightness."""

    def difference(name: str) -> float:
        reference = REFERENCES[name]
        hue, depth, value = colorsys.rgb_to_hsv(*(part / 255 for part in color))
        other_hue, other_depth, other_value = colorsys.rgb_to_hsv(*(p / 255 for p in reference))
        turn = abs(hue - other_hue)
        colored = min(depth * value, other_depth * other_value)
        return (
            9 * colored * min(turn, 1 - turn)
            + abs(depth * value - other_depth * other_value)
            + abs(value - other_value)
        )

    return min(COLORS, key=difference)


@pytest.mark.parametrize("size", [96, 224])
def test_same_scene_gives_same_pixels(size: int) -> None:
    for seed in range(20):
        first, second = (draw_scene(make_scene(seed), size) for _ in range(2))
        assert first.mode == "RGB"
        assert first.size == (size, size)
        assert first.tobytes() == second.tobytes()


def test_state_of_global_random_changes_nothing() -> None:
    random.seed(1)
    first = draw_scene(make_scene(7)).tobytes()
    random.seed(2)
    assert draw_scene(make_scene(7)).tobytes() == first


def test_another_seed_gives_another_picture() -> None:
    pictures = {draw_scene(_scene("car", "red", "field", seed)).tobytes() for seed in range(30)}
    assert len(pictures) == 30


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("radius", [0.08, 0.17, 0.3])
def test_every_kind_fills_its_box_and_little_else(kind: str, radius: float) -> None:
    for seed in range(6):
        scene = _scene(kind, "purple", "white", seed, radius)
        box = _box(scene.things[0], 96)
        inside = len(_changed(scene, box))
        everywhere = len(_changed(scene, (0, 0, 96, 96)))
        area = (box[2] - box[0]) * (box[3] - box[1])
        assert inside > 0.2 * area
        if kind != "sign":
            assert inside > 0.85 * everywhere


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("kind", KINDS)
def test_dominant_color_is_the_color_of_the_thing(kind: str, color: str) -> None:
    for seed, background in enumerate(("gray", "field", "night")):
        scene = _scene(kind, color, background, seed)
        picture = draw_scene(scene).crop(_box(scene.things[0], 96))
        if color in ("black", "white"):
            colors = _pixels(picture)
        else:
            colors = _changed(scene, _box(scene.things[0], 96))
        names = Counter(map(_color_name, colors))
        # Outlines are dark or light; a thing of another colour must outweigh everything else.
        if color not in ("black", "white"):
            del names["black"], names["white"]
            assert names.most_common(1)[0][0] == color, names
        else:
            assert names[color] > 0.15 * len(colors), names


@pytest.mark.parametrize("color", COLORS)
def test_every_jitter_keeps_the_name_of_the_color(color: str) -> None:
    # A picture of nothing but the inside of a square shows the jittered colour itself.
    for seed in range(150):
        inside = draw_scene(_scene("square", color, "gray", seed)).getpixel((48, 48))
        assert isinstance(inside, tuple)
        assert _color_name((inside[0], inside[1], inside[2])) == color, inside


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_held_out_things_are_visible_on_every_background(background: str) -> None:
    for color, kind in sorted(HELD_OUT_PAIRS):
        for seed in range(3):
            for radius in (0.08, 0.16):
                scene = _scene(kind, color, background, seed, radius)
                box = _box(scene.things[0], 96)
                area = (box[2] - box[0]) * (box[3] - box[1])
                assert len(_changed(scene, box)) > 0.15 * area, (color, kind, seed)


@pytest.mark.parametrize(("color", "background"), [("white", "white"), ("black", "night")])
@pytest.mark.parametrize("kind", KINDS)
def test_outline_shows_things_of_the_color_of_the_background(
    kind: str, color: str, background: str
) -> None:
    for seed in range(8):
        scene = _scene(kind, color, background, seed, 0.09)
        changed = _changed(scene, _box(scene.things[0], 96))
        assert len(changed) > 25
        assert len([seen for seen in changed if _gap(seen, PURE_COLORS[color]) > 90]) > 12


def test_things_are_drawn_in_order() -> None:
    red = Thing(kind="square", color="red", size="large", x=0.5, y=0.5, radius=0.16)
    blue = Thing(kind="square", color="blue", size="large", x=0.5, y=0.5, radius=0.16)
    for things, name in (((red, blue), "blue"), ((blue, red), "red")):
        pixel = draw_scene(Scene(seed=3, background="white", things=things)).getpixel((48, 48))
        assert isinstance(pixel, tuple)
        assert _color_name((pixel[0], pixel[1], pixel[2])) == name


def test_words_of_signs_differ() -> None:
    def sign(word: str) -> Image.Image:
        thing = Thing("sign", "white", "large", 0.5, 0.5, 0.16, word)
        return draw_scene(Scene(seed=5, background="gray", things=(thing,)))

    pictures = [sign(word) for word in SIGN_WORDS]
    for index, picture in enumerate(pictures):
        for other in pictures[:index]:
            assert ImageChops.difference(picture, other).getbbox() is not None


def test_a_plain_drawing_lies_inside_the_distribution() -> None:
    # A flat pure red disc without outline on pure white, as another program would draw it.
    found = 0
    for seed in range(500):
        picture = draw_scene(_scene("circle", "red", "white", seed))
        colors = Counter(_pixels(picture))
        flat = colors[(255, 0, 0)] + colors[(255, 255, 255)]
        found += flat > 0.97 * 96 * 96
    assert found > 2
