"""`make docs`: write every generated page."""

from docs.generator import PAGES, path_of

for name, page in PAGES.items():
    path_of(name).write_text(page(), encoding="utf-8")
    print(f"docs/reference/{name}")
