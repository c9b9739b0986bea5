"""What the images hold and how they are tagged."""

import re
from pathlib import Path

import pytest
from devcluster.image_plan import COMPILED, PACKAGES, digest, helm_values, plan_image, plan_images
from devcluster.node import find_outdated
from devcluster.settings import PROJECT


def packages_in_dockerfile() -> dict[str, list[str]]:
    """Return for each image the packages that the stages below it copy."""
    stages: dict[str, tuple[str, list[str]]] = {}
    name = ""
    for line in (PROJECT / "images" / "Dockerfile").read_text().splitlines():
        if begun := re.match(r"FROM (\S+) AS (\S+)", line):
            name = begun.group(2)
            stages[name] = (begun.group(1), [])
        elif copied := re.match(r"COPY (\S+/\S+) /opt/switchboard/(\S+)$", line):
            assert copied.group(1).endswith(f"/{copied.group(2)}")
            stages[name][1].append(copied.group(1))
    sources = {image: stages[f"{image}-source"] for image in PACKAGES}
    return {image: stages[below][1] + own for image, (below, own) in sources.items()}


def test_the_thin_layer_holds_what_the_dockerfile_copies() -> None:
    found = packages_in_dockerfile()
    assert {name: sorted(packages) for name, packages in found.items()} == {
        name: sorted(packages) for name, packages in PACKAGES.items()
    }


def test_machine_code_is_of_the_packages_and_in_the_images_of_the_dockerfile() -> None:
    text = (PROJECT / "images" / "Dockerfile").read_text()
    commands = re.findall(r"compile\.py /compiled/(\w+) ([\w ]+?) *\\?$", text, re.MULTILINE)
    assert {image: tuple(packages.split()) for image, packages in commands} == COMPILED
    stages = re.findall(r"^FROM \w+ AS (\w+)-source\n((?:(?!FROM).*\n)*)", text, re.MULTILINE)
    copied = {
        image: re.findall(r"--from=compiled /compiled/(\w+)/ /opt/switchboard/", lines) for image, lines in stages
    }
    assert {image: found for image, found in copied.items() if found} == {image: [image] for image in COMPILED}


def test_the_build_sees_what_the_dockerfile_copies() -> None:
    seen = (PROJECT / ".dockerignore").read_text().split()
    lines = (PROJECT / "images" / "Dockerfile").read_text().splitlines()
    copied = [found.group(1) for line in lines if (found := re.match(r"COPY ([^-]\S*) ", line))]
    assert copied
    assert [name for name in copied if f"!{name}" not in seen and f"!{name.split('/')[0]}" not in seen] == []


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, packages in PACKAGES.items():
        for package in packages:
            (tmp_path / package).mkdir(parents=True, exist_ok=True)
            (tmp_path / package / "__init__.py").write_text(f"# {package}")
        (tmp_path / "requirements").mkdir(exist_ok=True)
        (tmp_path / "requirements" / f"{name}.txt").write_text("one==1")
    for file in ("pyproject.toml", "hack/compile.py", "requirements/compile.txt"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("one")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "Dockerfile").write_text("FROM x")
    return tmp_path


@pytest.mark.parametrize("image", PACKAGES)
def test_an_image_holds_every_package_of_ours_that_its_own_import(image: str) -> None:
    held = {Path(package).name for package in PACKAGES[image]}
    imported = {
        found
        for package in PACKAGES[image]
        for file in (PROJECT / package).rglob("*.py")
        for found in re.findall(r"^\s*(?:from|import) (switchboard\w*)", file.read_text(), re.MULTILINE)
    }
    assert imported <= held


def test_an_edit_changes_the_tags_of_those_images_which_hold_it(project: Path) -> None:
    before = {plan.name: plan for plan in plan_images(project)}
    (project / "gateway/switchboard_gateway/__init__.py").write_text("# edited")
    after = {plan.name: plan for plan in plan_images(project)}
    assert {name for name in PACKAGES if before[name].reference != after[name].reference} == {"gateway", "cli"}
    assert {name for name in PACKAGES if before[name].dependencies != after[name].dependencies} == set()


def test_machine_code_makes_another_image_of_those_that_messages_pass(project: Path) -> None:
    plain, compiled = plan_images(project), plan_images(project, compiled=True)
    assert [one.name for one, other in zip(compiled, plain, strict=True) if one != other] == [
        "gateway",
        "sidecar",
        "host",
    ]
    assert [one.name for one in compiled if one.is_compiled] == ["gateway", "sidecar", "host"]
    assert not {one.reference for one in compiled if one.is_compiled} & {one.reference for one in plain}
    (project / "hack/compile.py").write_text("two")
    assert plan_images(project) == plain
    again = plan_images(project, compiled=True)
    assert [one.name for one, other in zip(again, compiled, strict=True) if one != other] == [
        "gateway",
        "sidecar",
        "host",
    ]


def test_a_new_lock_file_changes_its_image_alone(project: Path) -> None:
    before = plan_image(project, "host", ""), plan_image(project, "sidecar", "")
    (project / "requirements" / "host.txt").write_text("one==2")
    after = plan_image(project, "host", ""), plan_image(project, "sidecar", "")
    assert before[0].dependencies != after[0].dependencies
    assert before[0].reference != after[0].reference
    assert before[1] == after[1]


def test_compiled_modules_do_not_count(project: Path) -> None:
    before = plan_images(project)
    cached = project / "sdk/switchboard/__pycache__"
    cached.mkdir()
    (cached / "__init__.cpython-311.pyc").write_bytes(b"compiled")
    assert plan_images(project) == before


def test_moving_a_boundary_changes_the_digest() -> None:
    assert digest([b"ab", b"c"]) != digest([b"a", b"bc"])


def test_helm_gets_the_images_that_it_deploys(project: Path) -> None:
    values = helm_values(plan_images(project))
    assert set(values) == {"image", "operator", "gateway", "sidecar", "host"}
    host = plan_image(project, "host", "")
    assert values["host"] == {"image": {"repository": "switchboard/host", "tag": host.source_key}}
    assert host.reference == f"localhost/switchboard/host:{host.source_key}"


def test_an_outdated_image_goes_by_all_its_names() -> None:
    digests = {"x:old": "sha256:1", "sha256:id-old": "sha256:1", "x:new": "sha256:2", "sha256:id-new": "sha256:2"}
    assert find_outdated(digests, ["x:new", "x:never-built"]) == ["sha256:id-old", "x:old"]


@pytest.mark.parametrize("image", PACKAGES)
def test_an_image_holds_every_package_of_ours_that_its_modules_import(image: str) -> None:
    held = {package.rpartition("/")[2] for package in PACKAGES[image]}
    imported: set[str] = set()
    for package in PACKAGES[image]:
        for file in (PROJECT / package).rglob("*.py"):
            imported |= set(re.findall(r"^\s*(?:from|import) (switchboard\w*)", file.read_text(), re.MULTILINE))
    assert imported - held == set()
