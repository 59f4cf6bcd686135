#!/usr/bin/env python3
"""Reads an archive in the OCI image layout as the image spec 1.1 has it, and checks all that is to be true of the
container image. It shares no code with xtask, which makes the archive.

    oci.py ARCHIVE [--time SECONDS] [--programs] ARCHITECTURE...

--time: the time that every file of the archive and of the layers has. --programs: the files in /usr/bin are static
programs for their image's architecture. Ends with 1 at the first thing that is wrong."""

import argparse
import datetime
import gzip
import hashlib
import io
import json
import tarfile

SPEC = "application/vnd.oci.image."
COMMANDS = ["sctp-bufmon", "sctp-jitter", "sctp-rto", "sctp-rtt", "sctp-streamutil"]
LICENCES = ["LICENSE", "third-party.txt"]
# e_machine of ELF(5).
MACHINES = {"amd64": 62, "arm64": 183}
PT_INTERP = 3
LABELS = ["created", "description", "licenses", "revision", "title", "vendor", "version"]


def check(is_true, what):
    if not is_true:
        raise SystemExit(f"oci.py: {what}")


def members(archive, time):
    """The archive's members in their order, each checked to have root as owner and the fixed time."""
    listed = archive.getmembers()
    names = [member.name for member in listed]
    check(names == sorted(names), f"not sorted: {names}")
    check(len(set(names)) == len(names), f"twice: {names}")
    for member in listed:
        name = member.name
        check(member.isfile() or member.isdir(), f"{name} is neither a file nor a folder")
        check((member.uid, member.gid, member.uname, member.gname) == (0, 0, "", ""), f"{name}: its owner")
        check(time is None or member.mtime == time, f"{name}: its time {member.mtime}")
        check(not member.mode & 0o7022, f"{name}: mode {member.mode:o}")
        check(not name.startswith(("/", "..")) and "/../" not in name, f"{name} leads out")
    return listed


class Layout:
    def __init__(self, path, time):
        with tarfile.open(path, "r:") as archive:
            files = [member for member in members(archive, time) if member.isfile()]
            self.files = {member.name: archive.extractfile(member).read() for member in files}
        self.used = {"oci-layout", "index.json"}
        check(json.loads(self.files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}, "oci-layout")

    def blob(self, descriptor, kind):
        """The bytes of the blob that a descriptor is of."""
        check(descriptor["mediaType"] == SPEC + kind, f"{descriptor} is no {kind}")
        algorithm, digest = descriptor["digest"].split(":")
        name = f"blobs/{algorithm}/{digest}"
        check(algorithm == "sha256" and name in self.files, f"there is no {name}")
        data = self.files[name]
        check(len(data) == descriptor["size"], f"{name} has another size")
        check(hashlib.sha256(data).hexdigest() == digest, f"{name} has another checksum")
        self.used.add(name)
        return data


def document(data, kind):
    """A manifest or an index."""
    value = json.loads(data)
    check(value["schemaVersion"] == 2 and value["mediaType"] == SPEC + kind, f"{kind}: {value}")
    return value


def check_labels(labels, created):
    check(sorted(labels) == [f"org.opencontainers.image.{name}" for name in LABELS], f"labels: {labels}")
    check(labels["org.opencontainers.image.created"] == created, f"labels: {labels}")
    check(all(labels.values()), f"labels: {labels}")


def check_program(name, data, architecture):
    check(data[:6] == b"\x7fELF\x02\x01", f"{name} is no program")
    check(int.from_bytes(data[18:20], "little") == MACHINES[architecture], f"{name}: another architecture")
    offset = int.from_bytes(data[32:40], "little")
    size, count = (int.from_bytes(data[at:at + 2], "little") for at in (54, 56))
    kinds = [int.from_bytes(data[at:at + 4], "little") for at in range(offset, offset + size * count, size)]
    check(PT_INTERP not in kinds, f"{name} is not static")


def check_image(layout, descriptor, time, programs):
    architecture = descriptor["platform"]["architecture"]
    check(descriptor["platform"] == {"architecture": architecture, "os": "linux"}, f"{descriptor}")
    manifest = document(layout.blob(descriptor, "manifest.v1+json"), "manifest.v1+json")
    config = json.loads(layout.blob(manifest["config"], "config.v1+json"))
    check((config["architecture"], config["os"]) == (architecture, "linux"), f"{config}")
    created = config["created"]
    if time is not None:
        said = datetime.datetime.strptime(created, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)
        check(said.timestamp() == time, f"created {created}")
    run = config["config"]
    check(run["User"] == "0:0" and "Entrypoint" not in run, f"{run}")
    check(run["Cmd"] == ["/usr/bin/sctp-rto", "--help"] and run["Env"] == ["PATH=/usr/bin"], f"{run}")
    check_labels(run["Labels"], created)
    check_labels(manifest["annotations"], created)
    check(config["rootfs"]["type"] == "layers", f"{config}")
    check(len(config["history"]) == len(manifest["layers"]) == len(config["rootfs"]["diff_ids"]) == 1, f"{config}")

    packed = layout.blob(manifest["layers"][0], "layer.v1.tar+gzip")
    # Neither a name nor a time: bytes 3 to 7 of RFC 1952.
    check(packed[3:8] == bytes(5), "the layer's gzip header has a name or a time")
    layer = gzip.decompress(packed)
    diff_id = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    check(config["rootfs"]["diff_ids"] == [diff_id], f"{config['rootfs']}, not {diff_id}")
    with tarfile.open(fileobj=io.BytesIO(layer), mode="r:") as archive:
        listed = members(archive, time)
        files = [member.name for member in listed if member.isfile()]
        expected = [f"usr/bin/{name}" for name in COMMANDS]
        expected += [f"usr/share/doc/sctptrace/{name}" for name in LICENCES]
        check(files == expected, f"files: {files}")
        for member in listed:
            is_run = member.isdir() or member.name.startswith("usr/bin/")
            check(bool(member.mode & 0o001) == is_run, f"{member.name}: mode {member.mode:o}")
            if programs and member.name.startswith("usr/bin/"):
                check_program(member.name, archive.extractfile(member).read(), architecture)
    return architecture


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("archive")
    parser.add_argument("--time", type=int)
    parser.add_argument("--programs", action="store_true")
    parser.add_argument("architecture", nargs="+")
    flags = parser.parse_args()
    layout = Layout(flags.archive, flags.time)
    top = document(layout.files["index.json"], "index.v1+json")
    check(len(top["manifests"]) == 1, "more than one image")
    [whole] = top["manifests"]
    version = whole["annotations"]["org.opencontainers.image.ref.name"]
    name = whole["annotations"]["io.containerd.image.name"]
    check(name == f"localhost/sctptrace:{version}", f"named {name}")
    index = document(layout.blob(whole, "index.v1+json"), "index.v1+json")
    images = [check_image(layout, image, flags.time, flags.programs) for image in index["manifests"]]
    check(images == flags.architecture, f"images of {images}")
    check(index["annotations"]["org.opencontainers.image.version"] == version, "another version")
    check(set(layout.files) == layout.used, f"nothing refers to {set(layout.files) - layout.used}")
    print(f"{flags.archive}: {name}, {' and '.join(images)}")


main()
