"""`spec.build` against the models and itself: what no schema can say. Pure."""

import re
from collections.abc import Iterator
from typing import Final

from torchserve_operator.api.errors import FieldError
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.requirements import from_lines
from torchserve_operator.desired.build_plan import built_models, claim_of, sources

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def build_errors(spec: TorchServeModelSpec) -> Iterator[FieldError]:
    """Yield what a build would only find out in its Job."""
    build = spec.build
    if build is None:
        return
    if not built_models(spec) and not build.requirements and build.requirements_from is None:
        yield FieldError(
            "spec.build",
            "adds nothing to the base image: give a model an archive or a package, or name requirements; "
            "to serve an image as it is, set spec.image",
        )
    try:
        from_lines(build.requirements)
    except BuildError as error:
        hint = f"; {error.hint}" if error.hint else ""
        yield FieldError(error.field, f"{error.message}{hint}")
    for path, source in sources(spec).items():
        claim = claim_of(source)
        if claim is not None and not _NAME.fullmatch(claim):
            yield FieldError(f"{path}.url", f'"{claim}" is not the name of a claim; write pvc://CLAIM/PATH')
    for index, model in enumerate(spec.models):
        archive, package = model.archive, model.package
        if package is not None and (package.source.url or "").startswith(("https://", "http://")):
            yield FieldError(
                f"spec.models[{index}].package.source.url",
                "cannot be a folder: a web server does not list what it has; name a packed model in archive, or put "
                "the folder into S3, a volume or a ConfigMap",
            )
        if archive is not None and archive.url is not None and archive.url.partition("?")[0].endswith("/"):
            yield FieldError(
                f"spec.models[{index}].archive.url", "is a folder; an archive is one file: use package for a folder"
            )
