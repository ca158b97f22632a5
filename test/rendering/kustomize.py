"""What `kustomize build` makes of the folders of `config`.

They use little of kustomize: resources, and an image with another name. So little is
read here, and anything else is refused.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from controller_runtime import Json


def build(folder: Path) -> list[Json]:
    """Return the objects of a folder with a kustomization.

    Raises:
        ValueError: It says something that this does not know.
        OSError: A file that it names is not there.
    """
    said = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    if more := said.keys() - {"resources", "images"}:
        raise ValueError(f"{folder}: {', '.join(more)} is not known here")
    objects: list[Json] = []
    for name in said["resources"]:
        path = folder / name
        if path.is_dir():
            objects += build(path.resolve())
        else:
            text = path.read_text(encoding="utf-8")
            objects += filter(None, yaml.load_all(text, Loader=yaml.CSafeLoader))
    for image in said.get("images", ()):
        for obj in objects:
            _rename(obj, image)
    return objects


def _rename(obj: Json, image: Json) -> None:
    if obj["kind"] != "Deployment":
        return
    for container in obj["spec"]["template"]["spec"]["containers"]:
        if container["image"].partition(":")[0] == image["name"]:
            container["image"] = f"{image['newName']}:{image['newTag']}"
