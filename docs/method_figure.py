"""Draws docs/method.svg: which tokens each layer reads. Run: python docs/method_figure.py"""

from pathlib import Path

TOKENS = ["[CLS]", "the", "cat", "[MASK]", "on", "the", "[MASK]", "today", ".", "[SEP]"]
KEPT = {0, 2, 3, 6, 9}
LAYERS = ["0", "1", "2 (hybrid)", "3", "4", "5"]
CELL, LEFT, TOP = 54, 128, 56


def grid(x0: float, title: str, dropping: bool) -> list[str]:
    out = [f'<text x="{x0 + CELL * 5}" y="24" class="title">{title}</text>']
    for row, name in enumerate(LAYERS):
        y = TOP + (len(LAYERS) - 1 - row) * 34
        if x0 == LEFT:
            out.append(f'<text x="{LEFT - 10}" y="{y + 18}" class="side">layer {name}</text>')
        for column in range(len(TOKENS)):
            active = not dropping or row not in (2, 3, 4) or column in KEPT
            kind = "on" if active else "off"
            out.append(
                f'<rect x="{x0 + column * CELL + 3}" y="{y}" width="{CELL - 6}" height="26" rx="5" class="{kind}"/>'
            )
    base = TOP + len(LAYERS) * 34 + 16
    for column, token in enumerate(TOKENS):
        out.append(f'<text x="{x0 + column * CELL + CELL / 2}" y="{base}" class="token">{token}</text>')
    return out


def figure() -> str:
    right = LEFT + CELL * len(TOKENS) + 70
    width, height = right + CELL * len(TOKENS) + 20, TOP + len(LAYERS) * 34 + 70
    middle = LEFT + CELL * len(TOKENS) + 35
    body = [
        *grid(LEFT, "every step: token dropping", dropping=True),
        *grid(right, "every 10th step, beside it: the full network", dropping=False),
    ]
    for row, name in ((4, "SC local"), (5, "SC global")):
        y = TOP + (len(LAYERS) - 1 - row) * 34 + 13
        body.append(f'<path d="M{LEFT + CELL * 10} {y}H{right}" class="link"/>')
        body.append(f'<text x="{middle}" y="{y - 4}" class="small">{name}</text>')
    body.append(
        f'<text x="{width / 2}" y="{height - 12}" class="small">pale: dropped; the rows wait, and come back for the '
        "last layer. Lines: the [CLS] rows of the two passes are made to agree.</text>"
    )
    style = (
        "text{font:13px sans-serif;fill:#334}.title{font-weight:600;font-size:15px;text-anchor:middle}"
        ".side{text-anchor:end}.token,.small{text-anchor:middle;font-size:12px}.on{fill:#3b76c4}.off{fill:#d9e2ef}"
        ".link{stroke:#d1603d;stroke-width:2;stroke-dasharray:5 3}"
        "@media (prefers-color-scheme:dark){text{fill:#dde}.off{fill:#2c3850}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
        f"<style>{style}</style>{''.join(body)}</svg>\n"
    )


if __name__ == "__main__":
    Path(__file__).with_name("method.svg").write_text(figure(), encoding="utf-8")
