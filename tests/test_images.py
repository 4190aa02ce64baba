"""Folders of images, and images that are changed at random."""

import sys

import numpy as np
import pytest

from minicnn.data import DataLoader
from minicnn.images import ImageFolder, RandomAffine

pillow = pytest.importorskip("PIL.Image")


def write(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pillow.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)


@pytest.fixture
def trees(tmp_path):
    """Return a folder of red oaks and grey elms."""
    red = np.zeros((4, 4, 3))
    red[..., 0] = 255
    write(tmp_path / "oak/b.png", red)
    write(tmp_path / "oak/old/a.jpg", red, quality=100)
    write(tmp_path / "elm/c.png", np.full((4, 4), 51))
    return tmp_path


def test_classes_are_folders_in_alphabetical_order_whatever_is_in_them(trees):
    folder = ImageFolder(trees, 4)
    assert folder.names == ("elm", "oak")
    assert [path.name for path in folder.paths] == ["c.png", "b.png", "a.jpg"]
    assert folder.labels.tolist() == [0, 1, 1]
    assert len(folder) == 3


def test_an_image_is_three_channels_from_0_to_1_in_colour_or_grey(trees):
    folder = ImageFolder(trees, 2)
    grey, label = folder[0]
    assert (grey.shape, grey.dtype, label) == ((3, 2, 2), np.float32, 0)
    assert grey == pytest.approx(0.2)
    red, label = folder[1]
    assert label == 1
    assert red[0] == pytest.approx(1)
    assert not red[1:].any()


def test_of_an_image_that_is_no_square_the_middle_is_seen(tmp_path):
    pixels = np.zeros((2, 6))
    pixels[:, 2:4] = 255
    write(tmp_path / "a/wide.png", pixels)
    write(tmp_path / "b/high.png", pixels.T)
    for image, _ in (ImageFolder(tmp_path, 2)[i] for i in range(2)):
        assert image.tolist() == np.ones((3, 2, 2)).tolist()


def test_transparent_and_paletted_images_are_read(trees):
    write(trees / "oak/clear.png", np.full((4, 4, 4), 255))
    with pillow.open(trees / "oak/b.png") as image:
        image.convert("P").save(trees / "oak/palette.png")
    images, labels = ImageFolder(trees, 4).batch(np.arange(5))
    assert images.shape == (5, 3, 4, 4)
    assert labels.tolist() == [0, 1, 1, 1, 1]


def test_a_loader_takes_the_folder(trees):
    ((images, labels),) = DataLoader(ImageFolder(trees, 4), 3, shuffle=True, rng=0)
    assert images.shape == (3, 3, 4, 4)
    assert sorted(labels) == [0, 1, 1]
    ((images, _),) = DataLoader(ImageFolder(trees, 4), 3, transform=RandomAffine(), rng=0)
    assert (images.shape, images.dtype) == ((3, 3, 4, 4), np.float32)


def test_files_whose_names_begin_with_a_dot_are_passed_over(trees):
    (trees / "oak/.DS_Store").write_bytes(b"nothing")
    (trees / ".cache").mkdir()
    (trees / "readme.txt").write_text("beside the classes nothing counts")
    assert len(ImageFolder(trees, 4)) == 3


def test_files_that_are_no_images_are_named_all_at_once(trees):
    for i in range(6):
        (trees / f"elm/{i}.txt").write_text("an elm")
    with pytest.raises(ValueError, match=r"6 of 9 files .* whole images, .*: elm.0.txt; .*; and "
                                         r"1 more"):  # fmt: skip
        ImageFolder(trees, 4)


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_an_image_that_is_cut_off_is_named_when_it_is_read(trees, kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3))
    path = trees / f"elm/half.{kind}"
    write(path, noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    folder = ImageFolder(trees, 4)
    index = folder.paths.index(path)
    with pytest.raises(
        ValueError, match=rf"1 of 4 files .* no whole images, or .*: elm.half.{kind}"
    ):
        folder[index]


def test_an_image_that_declares_far_more_than_it_has_is_named(trees, monkeypatch):
    monkeypatch.setattr(pillow, "MAX_IMAGE_PIXELS", 20)
    write(trees / "oak/bomb.png", np.zeros((7, 7)))
    with pytest.raises(ValueError, match="no whole images, or too large for Pillow: oak.bomb.png"):
        ImageFolder(trees, 4)


def test_a_folder_without_classes_or_images_says_what_it_takes(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        ImageFolder(tmp_path / "none", 4)
    write(tmp_path / "oak/a.png", np.zeros((4, 4)))
    with pytest.raises(ValueError, match="has 1 folders; it takes one of images for each of two"):
        ImageFolder(tmp_path, 4)
    (tmp_path / "elm").mkdir()
    with pytest.raises(ValueError, match="there are no images in .*elm"):
        ImageFolder(tmp_path, 4)
    with pytest.raises(ValueError, match="size is 0; it takes 1 pixel at least"):
        ImageFolder(tmp_path, 0)


def test_without_pillow_it_says_what_to_install(trees, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "minicnn\[plot\]"'):
        ImageFolder(trees, 4)


def test_an_affine_map_follows_from_the_generator_and_keeps_what_comes_with_it():
    image = np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)
    (one, label), (same, _), (other, _) = (
        RandomAffine()(image, 7, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert (one.shape, one.dtype, label) == (image.shape, image.dtype, 7)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_without_amount_and_shift_an_image_stays():
    image = np.random.default_rng(0).random((1, 8, 6)).astype(np.float32)
    (found,) = RandomAffine(0, 0)(image, rng=np.random.default_rng(0))
    assert found == pytest.approx(image, abs=1e-6)


def test_an_image_is_moved_by_so_much_of_its_size_and_goes_on_at_its_borders():
    image = np.zeros((1, 33, 33), np.float32)
    image[0, 16, 16] = 1
    image[0, :, -1] = 5
    for seed in range(5):
        rng, same = np.random.default_rng(seed), np.random.default_rng(seed)
        (found,) = RandomAffine(0, 1 / 8)(image, rng=rng)
        same.uniform(0, 0, (2, 2))
        moved = 33 * same.uniform(-1 / 8, 1 / 8, 2)
        inside = np.where(found[0] < 4, found[0], 0)[:, :24]
        rows, columns = np.mgrid[:33, :24]
        centre = [float((axis * inside).sum() / inside.sum()) for axis in (rows, columns)]
        assert np.array(centre) == pytest.approx(16 + moved, abs=0.01)
        if moved[1] < 0:
            assert found[0, :, -1].tolist() == [5] * 33


def test_a_stretch_leaves_the_middle_where_it_is():
    image = np.zeros((1, 9, 9), np.float32)
    image[0, 4, 4] = 1
    for seed in range(5):
        (found,) = RandomAffine(1 / 8, 0)(image, rng=np.random.default_rng(seed))
        assert found[0, 4, 4] == pytest.approx(1)
