"""What a page looks like: the contrast of its text, and whether anything is on its picture."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page

TEXTS = """() => {
  const solid = (colour) => !/^(transparent|rgba\\(.*, 0\\))$/.test(colour);
  const paper = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (solid(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const says = (element) => [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  return [...document.querySelectorAll("body, body *")].filter((one) => says(one) && one.checkVisibility()).map((one) => {
    const style = getComputedStyle(one);
    return [one.textContent.trim().slice(0, 40), one instanceof SVGElement ? style.fill : style.color, paper(one)];
  });
}"""
"""Every visible element with text of its own: the text, its colour, and the nearest background behind it that is one."""


def contrasts(page: Page) -> list[tuple[str, float]]:
    """Return the page's texts with their contrast ratios, 1 to 21 (WCAG 2)."""
    return [(text, _ratio(ink, paper)) for text, ink, paper in page.evaluate(TEXTS)]


def luminance(colour: str) -> float:
    """Return the relative luminance, 0 to 1, of an opaque colour as a browser computes it: "rgb(1, 2, 3)"."""
    assert colour.startswith("rgb("), f"{colour} is not opaque"
    red, green, blue = (_linear(float(part) / 255) for part in re.findall(r"[\d.]+", colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def pictured(page: Page, file: Path) -> Image.Image:
    """Save a picture of the whole page, and return it; nothing is left to load or to move."""
    page.screenshot(path=file, full_page=True, animations="disabled")
    return Image.open(file).convert("RGB")


def commonest(picture: Image.Image) -> tuple[float, tuple[int, ...]]:
    """Return the picture's commonest colour with the share of pixels that have it."""
    counts = picture.getcolors(maxcolors=picture.width * picture.height)
    count, colour = max(counts)
    return count / (picture.width * picture.height), colour


def _ratio(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
