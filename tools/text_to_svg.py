#!/usr/bin/env python3
"""Turns terminal output into a picture: nanovllm demo | python3 tools/text_to_svg.py > docs/demo.svg"""
import html
import sys

FONT_SIZE, LINE_HEIGHT, CHAR_WIDTH, MARGIN = 14, 19, 8.43, 18
COLORS = {"A": "#7fd1ff", "B": "#ffb86b", "C": "#b4f08c", "#": "#ff8fd0", ".": "#5b6470"}


def colored(line):
    """The block pool between brackets, one colour for each owner."""
    begin, end = line.find("["), line.find("]")
    if begin < 0 or end < begin:
        return html.escape(line)
    pool = "".join(f'<tspan fill="{COLORS.get(c, "#d7dde5")}">{html.escape(c)}</tspan>'
                   for c in line[begin + 1:end])
    return html.escape(line[:begin + 1]) + pool + html.escape(line[end:])


def main():
    lines = sys.stdin.read().rstrip("\n").split("\n")
    width = int(max(map(len, lines)) * CHAR_WIDTH + 2 * MARGIN)
    height = len(lines) * LINE_HEIGHT + 2 * MARGIN
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
          f'viewBox="0 0 {width} {height}" role="img">')
    print(f'<rect width="{width}" height="{height}" rx="8" fill="#161b22"/>')
    print(f'<g font-family="ui-monospace,Menlo,Consolas,DejaVu Sans Mono,monospace" '
          f'font-size="{FONT_SIZE}" fill="#d7dde5" xml:space="preserve">')
    for i, line in enumerate(lines):
        y = MARGIN + (i + 1) * LINE_HEIGHT - 5
        print(f'<text x="{MARGIN}" y="{y}">{colored(line)}</text>')
    print("</g>\n</svg>")


if __name__ == "__main__":
    main()
