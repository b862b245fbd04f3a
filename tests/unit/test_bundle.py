"""A bundle on disk: every way it can be wrong is refused by name, and what was read is what was checked."""

import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from backbone import bundle as bundles
from backbone.bundle import BadManifest, BundleDamaged, UnknownBundle

SHIPPED = Path(__file__).parents[2] / "model_server" / "models"
REFERENCE = "depth-eeg@0.1.0"


@pytest.fixture
def models(tmp_path):
    shutil.copytree(SHIPPED, tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def folder(models):
    return models / "depth-eeg" / "0.1.0"


def reseal(folder: Path) -> None:
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != bundles.SUMS}
    (folder / bundles.SUMS).write_text(bundles.sums_of(files))


def test_a_whole_bundle_is_read_with_its_digest(models, folder):
    bundle = bundles.read(models, REFERENCE)

    lines = sorted((folder / "SHA256SUMS").read_text().splitlines())
    assert bundle.reference == REFERENCE
    assert bundle.digest == sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    assert set(bundle.files) == bundles.FILES


def test_what_was_read_stays_when_the_disk_changes(models, folder):
    bundle = bundles.read(models, REFERENCE)

    (folder / "model.ts").write_bytes(b"another model")

    assert sha256(bundle.files["model.ts"]).hexdigest() in bundles.sums_of(bundle.files)
    with pytest.raises(TypeError):
        bundle.files["model.ts"] = b"another model"


@pytest.mark.parametrize("reference", ["depth-eeg@latest", "depth-eeg", "depth-eeg@0.1", "../depth-eeg@0.1.0", "depth-eeg@9.9.9", ""])
def test_only_an_exact_version_that_is_there_is_served(models, reference):
    with pytest.raises(UnknownBundle):
        bundles.read(models, reference)


@pytest.mark.parametrize("name", sorted(bundles.FILES))
def test_one_flipped_bit_in_any_file_is_found(models, folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)

    with pytest.raises(BundleDamaged, match=name):
        bundles.read(models, REFERENCE)


@pytest.mark.parametrize("name", sorted(bundles.FILES | {bundles.SUMS}))
def test_a_missing_file_is_named(models, folder, name):
    (folder / name).unlink()

    with pytest.raises(BundleDamaged, match=name):
        bundles.read(models, REFERENCE)


def test_a_file_that_the_sums_leave_out_is_refused(models, folder):
    (folder / "extra.py").write_text("")

    with pytest.raises(BundleDamaged, match=r"extra\.py"):
        bundles.read(models, REFERENCE)


def test_a_needed_file_cannot_be_left_out_of_the_sums(models, folder):
    (folder / "golden.npz").unlink()
    reseal(folder)

    with pytest.raises(BundleDamaged, match=r"golden\.npz"):
        bundles.read(models, REFERENCE)


def test_a_link_is_not_followed(models, folder, tmp_path):
    (folder / "model.ts").rename(tmp_path / "model.ts")
    (folder / "model.ts").symlink_to(tmp_path / "model.ts")

    with pytest.raises(BundleDamaged, match=r"model\.ts"):
        bundles.read(models, REFERENCE)


@pytest.mark.parametrize("line", ["nonsense", "0" * 64 + "  ../model.ts", "0" * 64 + "  model.ts"])
def test_a_line_that_is_no_sum_or_a_second_one_is_refused(models, folder, line):
    with (folder / "SHA256SUMS").open("a") as sums:
        sums.write(line + "\n")

    with pytest.raises(BundleDamaged, match="SHA256SUMS"):
        bundles.read(models, REFERENCE)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('version = "0.1.0"', 'version = "0.2.0"', r"0\.2\.0"),
        ("window_s = 60", 'window_s = "60"', "window_s"),
        ("window_s = 60", "window_s = 60\nsurprise = 1", "surprise"),
        ("minimum_coverage_s = 20", "", "minimum_coverage_s"),
        ('tiers = ["E"]', 'tiers = ["X"]', "tiers"),
        ('parent = ""', "parent = ", "TOML"),
    ],
)
def test_a_manifest_is_strict(models, folder, old, new, field):
    manifest = folder / "manifest.toml"
    manifest.write_text(manifest.read_text().replace(old, new, 1))
    reseal(folder)

    with pytest.raises(BadManifest, match=field):
        bundles.read(models, REFERENCE)
