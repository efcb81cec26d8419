"""Writes kafka_jars.json from a folder in Maven's layout: `make kafka-jars`, when the version moves."""

import hashlib
import json
import sys
from pathlib import Path


def manifest_of(folder: Path) -> dict[str, object]:
    """Return the manifest of all jars under `folder` (Maven layout: group/artifact/version/file)."""
    jars = []
    for jar in sorted(folder.rglob("*.jar")):
        *group, artifact, version, _ = jar.relative_to(folder).parts
        content = jar.read_bytes()
        jars.append(
            {
                "coordinates": f"{'.'.join(group)}:{artifact}:{version}",
                "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        )
    versions = {
        str(jar["coordinates"]).rpartition(":")[2]
        for jar in jars
        if ":kafka_2.13:" in str(jar["coordinates"])
    }
    if len(versions) != 1:
        raise SystemExit(
            f"{folder} must hold exactly one version of org.apache.kafka:kafka_2.13, not {sorted(versions)}"
        )
    return {"version": versions.pop(), "jars": jars}


if __name__ == "__main__":
    manifest = manifest_of(Path(sys.argv[1]))
    Path(__file__).with_name("kafka_jars.json").write_text(
        json.dumps(manifest, indent=1) + "\n", encoding="utf-8"
    )
