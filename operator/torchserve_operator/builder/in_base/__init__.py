"""What a build runs inside the base image: standard library only, Python 3.8 and later.

One file goes there, made by `bundle`: a zipapp, which Python runs under any name.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

PACKAGE = "torchserve_operator_requirements"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def bundle() -> bytes:
    """The program as one file for `python FILE`; the same bytes each time."""
    sources = {
        path.name: path.read_bytes() for path in Path(__file__).parent.glob("*.py") if path.name != "__init__.py"
    }
    entry = f"import sys\n\nfrom {PACKAGE}.__main__ import main\n\nsys.exit(main(sys.argv[1:]))\n".encode()
    files = {"__main__.py": entry, **{f"{PACKAGE}/{name}": data for name, data in sources.items()}}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in sorted({**files, f"{PACKAGE}/__init__.py": b""}.items()):
            info = zipfile.ZipInfo(name, date_time=_EPOCH)
            info.external_attr = 0o644 << 16
            info.create_system = 3
            archive.writestr(info, data, zipfile.ZIP_DEFLATED, 9)
    return out.getvalue()
