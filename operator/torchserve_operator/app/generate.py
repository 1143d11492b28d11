"""`make generate`: writes what is made from the code: the CRD and the reference pages.

`python -m torchserve_operator.app.generate` writes below the current directory; a test holds that it leaves no diff.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml

from torchserve_operator.api.crd import custom_resource_definition
from torchserve_operator.api.names import GROUP, PLURAL
from torchserve_operator.app.process_reference import metrics_page, settings_page
from torchserve_operator.app.reference import conditions_page, resource_page

HEADER: Final = "# Generated from operator/torchserve_operator/api by `make generate`; do not edit.\n"


def generated_files() -> Mapping[str, str]:
    """Return each generated file's content by its path from the repository's root."""
    return {
        f"crds/{PLURAL}.{GROUP}.yaml": HEADER
        + yaml.safe_dump(custom_resource_definition(), sort_keys=False, width=120, allow_unicode=True),
        "docs/reference/torchservemodel.md": resource_page(),
        "docs/reference/conditions.md": conditions_page(),
        "docs/reference/settings.md": settings_page(),
        "docs/reference/metrics.md": metrics_page(),
    }


def write(root: Path) -> list[Path]:
    """Write the generated files below a repository's root; return those that changed."""
    changed = []
    for name, content in generated_files().items():
        path = root / name
        if path.exists() and path.read_text(encoding="utf-8") == content:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        changed.append(path)
    return changed


if __name__ == "__main__":
    for written in write(Path.cwd()):
        print(written)  # noqa: T201  # the command's output
