"""Drawn clips to train on: text, tables and buttons that scroll, appear and move; and grids of thin lines.

Cameras see little of that, and networks trained on natural video alone code it badly. `python -m bcodec.train
draw` writes them; it needs the extra `plot` (matplotlib draws the text).
"""

from __future__ import annotations

import string
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

WIDTH, HEIGHT, FRAMES, RATE = 448, 320, 17, 30
FONTS = ("DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono")
LETTERS = string.ascii_lowercase * 6 + string.ascii_uppercase + string.digits + ".,:;-/()"

Picture = npt.NDArray[np.uint8]  # RGB, [H, W, 3]


def draw_page(generator: np.random.Generator, width: int, height: int) -> Picture:
    """A page of panels, lines, shapes and text of random size, font and colour."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 (an optional extra)
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.patches import Circle, FancyBboxPatch, Rectangle  # noqa: PLC0415

    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    canvas: Any = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    dark = generator.random() < 0.4

    def colour(background: bool) -> tuple[float, ...]:
        grey = generator.beta(1, 8) if dark == background else 1 - generator.beta(1, 6)
        tint = generator.normal(0, 0.25 * (generator.random() < 0.4), 3)
        return tuple(np.clip(grey + tint, 0, 1))

    axes.add_patch(Rectangle((0, 0), width, height, color=colour(True)))
    for _ in range(int(generator.integers(4, 14))):
        x, y = generator.uniform(0, width), generator.uniform(0, height)
        w, h = generator.uniform(20, width / 1.5), generator.uniform(8, height / 4)
        shape = generator.integers(4)
        if shape == 0:
            axes.add_patch(Circle((x, y), h / 2, color=colour(generator.random() < 0.5)))
        elif shape == 1:
            axes.add_patch(FancyBboxPatch((x, y), w, h, "round,pad=0,rounding_size=5", color=colour(True)))
        else:
            edge = colour(False) if generator.random() < 0.5 else None
            axes.add_patch(Rectangle((x, y), w, h, facecolor=colour(True), edgecolor=edge, linewidth=0.8))
    top = 0.0
    while top < height:
        size = float(np.exp(generator.uniform(np.log(5), np.log(22))))
        font, ink, left = str(generator.choice(FONTS)), colour(False), generator.uniform(0, width / 2)
        for _ in range(int(generator.integers(1, 9))):
            top += size * 1.9
            words = ["".join(generator.choice(list(LETTERS), generator.integers(1, 10))) for _ in range(12)]
            line = " ".join(words)[: int(generator.integers(4, 90))]
            weight = "bold" if generator.random() < 0.2 else "normal"
            axes.text(left, top, line, family=font, size=size, color=ink, weight=weight, clip_on=True)
        top += generator.uniform(0, 30)
    canvas.draw()
    picture: Picture = np.asarray(canvas.buffer_rgba())[:height, :width, :3].copy()
    return picture


def draw_grid(generator: np.random.Generator) -> list[Picture]:
    """A plane ruled with thin lines, seen from aslant, and rectangles of which some move on it."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32) - np.array([HEIGHT, WIDTH])[:, None, None] / 2
    pitch, width, slope = (
        np.exp(generator.uniform(2.2, 3.8)),
        generator.uniform(0.5, 2.5),
        generator.uniform(-3, 3),
    )
    ground, ink = (generator.beta(1, 4, 3), 1 - generator.beta(1, 4, 3))[:: generator.choice([1, -1])]
    tilt, drift = generator.normal(0, 6e-4, 2), generator.normal(0, 1.5, 2) * (generator.random() < 0.6)
    turn, turning = generator.uniform(0, np.pi), generator.normal(0, 0.003) * (generator.random() < 0.5)
    count = int(generator.integers(3, 16))
    places, paces = generator.uniform(-220, 220, (count, 2)), generator.normal(0, 4, (count, 2))
    paces *= generator.random((count, 1)) < 0.4
    sides, angles = generator.uniform(8, 60, (count, 2)), generator.uniform(0, np.pi, count)
    colours, noise = generator.random((count, 3)), generator.uniform(0, 0.02)

    def ruled(u: npt.NDArray[np.float32], every: float) -> npt.NDArray[np.float32]:
        """How much of each pixel lies on a line: the lines are so many units of u apart."""
        steepness = np.hypot(*np.gradient(u))
        away = np.abs((u / every + 0.5) % 1 - 0.5) * every / np.maximum(steepness, 1e-6)
        covered: npt.NDArray[np.float32] = np.clip(width / 2 + 0.5 - away, 0, min(1, width))
        return covered

    pictures = []
    for time in range(FRAMES):
        depth = 1 + tilt[0] * x + tilt[1] * y
        angle = turn + turning * time
        u = (x * np.cos(angle) + y * np.sin(angle)) / depth + drift[0] * time
        v = (y * np.cos(angle) - x * np.sin(angle)) / depth + drift[1] * time
        lines = np.maximum(ruled(u, pitch), ruled(v, pitch))
        lines = np.maximum(lines, ruled(u + slope * v, pitch * 12))
        picture = ground + (ink - ground) * lines[..., None]
        for place, pace, (long, high), around, colour in zip(
            places, paces, sides, angles, colours, strict=True
        ):
            du, dv = u - place[0] - pace[0] * time, v - place[1] - pace[1] * time
            across, down = (
                du * np.cos(around) + dv * np.sin(around),
                dv * np.cos(around) - du * np.sin(around),
            )
            inside = np.clip(np.minimum(long / 2 - np.abs(across), high / 2 - np.abs(down)) + 0.5, 0, 1)
            shade = colour * (0.75 + 0.25 * np.sign(across))[..., None]
            picture += (shade - picture) * inside[..., None]
        grain = generator.normal(0, 1, picture.shape[:2])[..., None] * noise
        pictures.append(np.round(np.clip(picture + grain, 0, 1) * 255).astype(np.uint8))
    return pictures


def draw_screen(generator: np.random.Generator) -> list[Picture]:
    """A page that scrolls, or stands while parts of it appear and a piece of another moves over it."""
    scale = int(generator.choice([1, 1, 2]))  # of what is drawn; shown smaller, as video of screens often is
    page = draw_page(generator, WIDTH * scale, 2 * HEIGHT * scale)
    other = draw_page(generator, WIDTH * scale, HEIGHT * scale)
    scroll = int(generator.integers(-24, 25)) if generator.random() < 0.4 else 0
    rows, columns = (int(generator.integers(30, side * scale // 2)) for side in (HEIGHT, WIDTH))
    at, pace = generator.uniform(0, 100, 2), generator.normal(0, 6, 2) * (generator.random() < 0.7)
    changes = generator.integers(0, FRAMES, 5)
    corners = generator.uniform(0, 0.8, (5, 2))
    pictures = []
    for time in range(FRAMES):
        first = (HEIGHT * scale // 2 + scroll * time) % (HEIGHT * scale)
        shown = page[first : first + HEIGHT * scale].copy()
        for start, (down, across) in zip(changes, corners, strict=True):
            if start and time >= start:
                y, x = int(down * HEIGHT * scale), int(across * WIDTH * scale)
                shown[y : y + 40, x : x + 150] = other[y : y + 40, x : x + 150]
        y, x = (int(abs(place)) for place in at + pace * time)
        part = other[:rows, :columns][: max(0, shown.shape[0] - y), : max(0, shown.shape[1] - x)]
        shown[y : y + part.shape[0], x : x + part.shape[1]] = part
        small = shown.reshape(HEIGHT, scale, WIDTH, scale, 3).mean((1, 3))
        pictures.append(np.round(small).astype(np.uint8))
    return pictures


KINDS = {"screen": draw_screen, "grid": draw_grid}


def write_clip(path: Path, pictures: list[Picture]) -> None:
    """Write pictures, of even sides, as a video in 4:2:0 whose compression (FFV1) loses nothing."""
    with av.open(f"file:{path}", "w", format="matroska") as clip:
        video = clip.add_stream("ffv1", rate=RATE)
        video.height, video.width, _ = pictures[0].shape
        video.pix_fmt = "yuv420p"
        for index, picture in enumerate(pictures):
            frame = VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            clip.mux(video.encode(frame))
        clip.mux(video.encode(None))
