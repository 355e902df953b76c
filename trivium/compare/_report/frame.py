"""What every page stands in: one file that asks nothing of the network, and runs no style or script but its own."""

from functools import lru_cache
from importlib.resources import files as resources

from trivium.compare._report.markup import Html, content_hash, element

_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath "
    "d='M2 4h12M2 8h8M2 12h10' stroke='%230a62c4' stroke-width='2'/%3E%3C/svg%3E"
)


def framed(title: str, style: str, header: Html, main: Html, *behind: Html, script: str = "") -> str:
    """The page with this content; ``behind`` stands after it and before the script."""
    policy = [
        "default-src 'none'", *([f"script-src {content_hash(script)}"] if script else []),
        f"style-src {content_hash(style)}", "img-src data:", "base-uri 'none'", "form-action 'none'",
    ]  # fmt: skip
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content="; ".join(policy)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"{title} · trivium"),
        element("link", rel="icon", href=_ICON),
        element("style", Html(style)),
    )
    footer = element("footer", "Made by trivium. This page is one file and asks nothing of the network.")
    body = element("body", header, main, footer, list(behind), element("script", Html(script)) if script else None)
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


@lru_cache(maxsize=8)
def asset(name: str) -> str:
    """A style sheet or script that lies beside this file."""
    return (resources("trivium.compare._report") / name).read_text(encoding="utf-8")
