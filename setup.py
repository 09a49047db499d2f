"""The packages and the long description; everything else is in pyproject.toml.

The description is README.md without the front matter that a Space needs. A package index does not resolve relative
addresses, so links and pictures get absolute ones on GitHub. A build outside GitHub's workflows does not know the
repository: it drops the pictures and keeps the text of the links.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from setuptools import find_packages, setup

FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n+", re.DOTALL)
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)\s]+)\)")


def long_description(readme: str, environment: Mapping[str, str]) -> str:
    r"""The text for a package index.

    >>> github = {"GITHUB_REPOSITORY": "me/demo", "GITHUB_REF_NAME": "v1"}
    >>> long_description("---\na: b\n---\n![Page](a.png) [Use](b.md)", github)
    '![Page](https://raw.githubusercontent.com/me/demo/v1/a.png) [Use](https://github.com/me/demo/blob/v1/b.md)'
    >>> long_description("![Page](docs/page.png) [Use](docs/use.md) [Hub](https://hub.org)", {})
    ' Use [Hub](https://hub.org)'
    """
    repository, version = environment.get("GITHUB_REPOSITORY"), environment.get("GITHUB_REF_NAME")

    def absolute(link: re.Match[str]) -> str:
        mark, text, path = link.groups()
        if not repository or not version:
            return "" if mark else text
        if mark:
            return f"![{text}](https://raw.githubusercontent.com/{repository}/{version}/{path})"
        return f"[{text}](https://github.com/{repository}/blob/{version}/{path})"

    return LINK.sub(absolute, FRONT_MATTER.sub("", readme))


if __name__ == "__main__":
    setup(
        packages=[*find_packages(include=["longva_demo*"]), "longva_demo.examples"],
        long_description=long_description(Path("README.md").read_text(encoding="utf-8"), os.environ),
        long_description_content_type="text/markdown",
    )
