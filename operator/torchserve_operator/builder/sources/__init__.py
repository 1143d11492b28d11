"""Where models come from: web servers, S3, volumes, ConfigMaps, and what fsspec's optional packages add.

`open_object` and `open_folder` (open.py) are the door. Each kind is imported when a source is of it: a build from a
volume loads no HTTP client.
"""

from torchserve_operator.builder.sources.access import Access
from torchserve_operator.builder.sources.open import Opened, OpenedFolder, open_folder, open_object

__all__ = ["Access", "Opened", "OpenedFolder", "open_folder", "open_object"]
