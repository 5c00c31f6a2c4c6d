"""What MkDocs is told beyond mkdocs.yml: the project's own pages, which lie outside of docs/, belong to the site."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = sorted(path.name for path in ROOT.glob("*.md") if path.name != "README.md")


def on_config(config: MkDocsConfig) -> None:
    """Add the pages of the project's root as the last part of the navigation."""
    config.nav.append({"Project": PAGES})


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add README.md as the first page, the other pages of the project's root, and the licence."""
    files.append(File.generated(config, "index.md", abs_src_path=str(ROOT / "README.md")))
    for name in [*PAGES, "LICENSE"]:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links between the project's root and docs/ point to where the pages are on the site."""
    if page.file.src_uri in ("index.md", *PAGES):
        return markdown.replace("](docs/", "](")
    for name in [*PAGES, "LICENSE"]:
        markdown = markdown.replace(f"../{name}", name)
    return markdown.replace("../README.md", "index.md")
