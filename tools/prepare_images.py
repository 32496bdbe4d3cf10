#!/usr/bin/env python3
"""Turns images as people have them into a set of one size, by a recipe that papers use:

  tools/prepare_images.py SOURCE OUT --recipe RECIPE      SOURCE: a folder (all in it, through links) or a zip
                                                          OUT: a .zip (PNGs and dataset.json, as EDM's) or .npz (ADM's)
  adm-256, adm-512, adm-SIZE   guided-diffusion's: halved by boxes while twice SIZE or more, the short side to SIZE by
                               bicubic, the centre cut out; ADM's, DiT's, SiT's ImageNet
  edm-64, edm-SIZE             EDM's dataset_tool.py --transform=center-crop: the centre square, by Lanczos
  center-bicubic --size SIZE   the centre square, by Pillow's bicubic
  clean --size SIZE            clean-fid's: the whole image to a square of 299 or SIZE by bicubic; into an .npz as
                               float32 [N,C,H,W], not rounded, as clean-fid's network gets it (compare --range 0,255)

Images are read and resized by Pillow, as RGB. They come in the order of their names, numbers as numbers; labels are
those of the source's dataset.json, or the folders at its top in the order of their names, without those of which no
image can be used. Every file that is left out is named. The recipe is kept in OUT, in references made of it, and in
the run.json of jobs evaluated with these.

Exit codes: 64 wrong command line, 65 an image that can't be used (nothing is written), 74 a file can't be read or
written, or not enough memory. It needs numpy and pillow."""
import argparse
import collections
import concurrent.futures as futures
import io
import itertools
import json
import multiprocessing
import os
import pathlib
import re
import sys
import tempfile
import threading
import zipfile

from export.frame import Parser, Refusal, call, end_without, replacing

PACKAGES = "numpy pillow"

try:
    import numpy as np
    from PIL import Image
except ModuleNotFoundError as missing:
    end_without("prepare_images", missing, PACKAGES)

EXTENSIONS = {f".{name}" for name in "bmp gif jfif jpe jpeg jpg pbm pgm png ppm tif tiff webp".split()}
MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}  # of 8 bits: others lose more than they should
HIDDEN = re.compile(r"(^|/)(\.(?!/)|__MACOSX/)")
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same images give the same bytes
AHEAD, BATCH = 8, 4  # images a process that are in memory at most, and that it is sent at once


# ---- recipes: an RGB image and a size -> uint8 [H,W,3], or float32 [3,H,W] ----

def resize(image, size, kernel):
    """Rows before columns, as every Pillow did with which published sets were made; from 13 on it takes some tall
    images the other way round, which is up to ten levels apart."""
    return image.resize((size[0], image.height), kernel).resize(size, kernel)


def adm(image, size):
    while min(image.size) >= 2 * size:
        image = resize(image, (image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    image = resize(image, (round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.array(image.crop((left, top, left + size, top + size)))


def centre_square(image):
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def edm(image, size):
    return np.array(resize(centre_square(image), (size, size), Image.Resampling.LANCZOS))


def center_bicubic(image, size):
    return np.array(resize(centre_square(image), (size, size), Image.Resampling.BICUBIC))


def clean(image, size):
    return np.array(resize(image, (size, size), Image.Resampling.BICUBIC))


def clean_floats(image, size):
    bands = [np.array(band, np.float32) for band in image.split()]
    return np.stack([resize(Image.fromarray(band), (size, size), Image.Resampling.BICUBIC) for band in bands])


RECIPES = {"adm": adm, "edm": edm, "center-bicubic": center_bicubic, "clean": clean}


# ---- what there is ----

def files_in(folder, name="", above=()):
    """Names of all files, through links to folders, as qtaylor reads them; only hidden links are not followed."""
    about = os.stat(folder)
    if (about.st_dev, about.st_ino) in above:
        raise OSError(f"cannot list {folder}: it is a link to a folder that it is in")
    for entry in list(os.scandir(folder)):
        inner = name + entry.name
        if entry.is_dir() and not (entry.is_symlink() and HIDDEN.search(inner + "/")):
            yield from files_in(entry.path, inner + "/", (*above, (about.st_dev, about.st_ino)))
        else:
            yield inner


class Source:
    """A folder or a zip: names in order, their bytes and labels."""

    def __init__(self, path):
        self.path, self.archive = pathlib.Path(path), None
        if self.path.is_dir():
            names = list(files_in(self.path))
        elif self.path.is_file() and zipfile.is_zipfile(self.path):
            self.archive = zipfile.ZipFile(self.path)
            names = [name for name in once_each(self.archive.namelist(), path) if not name.endswith("/")]
        elif self.path.exists():
            raise Refusal(f"{path}: expected a folder or a zip of images")
        else:
            raise FileNotFoundError(f"{path}: no such folder or zip")
        self.names = sorted((name for name in names if not HIDDEN.search(name) and is_image(name)), key=natural)
        self.left_out = sorted(set(names) - set(self.names) - {"dataset.json"}, key=natural)
        if not self.names:
            raise Refusal(f"{path}: expected images ({', '.join(sorted(EXTENSIONS))}), found none among {len(names)} "
                          "files")
        self.listed = "dataset.json" in names
        loose = [name for name in self.names if "/" not in name]
        if not self.listed and 0 < len(loose) < len(self.names):
            raise Refusal(f"{path}: expected images in folders, one a class, or all without, found {loose[0]} beside "
                          f"the folders ({len(loose)} such): move it into its class's folder or away")
        self.labels = self.listed_labels() if self.listed else None

    def labels_of(self, kept):
        """Of the images with these numbers, which are used: folders without any are no classes."""
        if self.listed:
            return self.labels and [self.labels[i] for i in kept]
        top = [self.names[i].split("/")[0] for i in kept if "/" in self.names[i]]
        for folder in sorted({name.split("/")[0] for name in self.names if "/" in name} - set(top)):
            say(f"left out: the class {folder}/: none of its images can be used")
        classes = {name: label for label, name in enumerate(sorted(set(top)))}
        return [classes[name] for name in top] if len(classes) > 1 else None

    def read(self, name):
        path = self.path / name
        if not self.archive and path.exists() and not path.is_file():  # a FIFO would be waited for
            raise OSError(f"cannot read {path}: expected a regular file, found a FIFO, socket or device")
        return self.archive.read(name) if self.archive else path.read_bytes()

    def try_to_read(self, name):
        """Or why not, which is told once it is this image's turn."""
        try:
            return self.read(name)
        except Exception as error:
            return error

    def listed_labels(self):
        try:
            listed = json.loads(self.read("dataset.json"))
        except (OSError, MemoryError):
            raise
        except Exception as error:  # whatever json and zipfile have to say of a damaged file
            raise Refusal(f"{self.path}: dataset.json: expected JSON: {error}") from None
        try:
            labels = listed.get("labels")
            labels = None if labels is None else dict(labels)
        except (AttributeError, TypeError, ValueError):
            raise Refusal(f"{self.path}: dataset.json: expected {{\"labels\": [[NAME, NUMBER], ...]}}, found "
                          f"{json.dumps(listed)[:60]}") from None
        if labels is None:
            return None
        missing = [name for name in self.names if not is_label(labels.get(name))]
        if missing:
            raise Refusal(f"{self.path}: dataset.json: expected a whole number of 64 bits as the label of each image, "
                          f"found {json.dumps(labels.get(missing[0]))[:60]} for {missing[0]} ({len(missing)} such)")
        return [labels[name] for name in self.names]


def once_each(names, path):
    for name, times in collections.Counter(names).items():
        if times > 1:
            raise Refusal(f"{path} holds {name} twice, and readers differ in which of them they take: make it again")
    return names


def is_label(value):
    return type(value) is int and -1 << 63 <= value < 1 << 63  # true is an int of Python's too


def is_image(name):
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def natural(name):
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"([0-9]+)", name))], name


def work(job):
    """One image: its pixels and what is to be said of it, or why it can't be used."""
    data, function, size = job
    if isinstance(data, Exception):
        return None, data
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            if image.mode not in MODES:
                return None, f"expected pixels of 8 bits, found Pillow's mode {image.mode}"
            notes = [] if image.mode == "RGB" else [f"converted from {image.mode} to RGB"]
            if getattr(image, "n_frames", 1) > 1:
                notes.append("animated: its first frame")
            if min(image.size) < size:
                notes.append(f"smaller than {size} pixels: enlarged")
            return function(image.convert("RGB"), size), notes
    except MemoryError as error:
        return None, error
    except Exception as error:  # whatever Pillow has to say of a damaged file
        return None, re.sub(r" <_io\.BytesIO[^>]*>", "", str(error)) or type(error).__name__


# ---- the set ----

class Zip:
    def __init__(self, path, count):
        self.file = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED)
        self.names = []

    def add(self, pixels):
        bits = io.BytesIO()
        Image.fromarray(pixels).save(bits, format="png", compress_level=1)
        self.names.append(f"{len(self.names) // 1000:05d}/img{len(self.names):08d}.png")
        self.write(self.names[-1], bits.getvalue())

    def write(self, name, data):
        self.file.writestr(zipfile.ZipInfo(name, EPOCH), data)

    def end(self, labels, recipe):
        listed = None if labels is None else [[name, label] for name, label in zip(self.names, labels)]
        self.write("dataset.json", json.dumps({"labels": listed, "recipe": recipe}))
        self.file.close()


class Npz:
    """The number of images is known at the end: until then they are in a file beside, which has no name."""

    def __init__(self, path, count):
        self.file, self.shape, self.count = zipfile.ZipFile(path, "w"), None, 0
        self.rows = tempfile.TemporaryFile(dir=path.parent)

    def add(self, pixels):
        self.shape, self.dtype, self.count = pixels.shape, pixels.dtype, self.count + 1
        self.rows.write(pixels.tobytes())

    def write(self, name, header, chunks):
        with self.file.open(zipfile.ZipInfo(f"{name}.npy", EPOCH), "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(member, {"fortran_order": False, **header})
            for chunk in chunks:
                member.write(chunk)

    def end(self, labels, recipe):
        self.rows.seek(0)
        self.write("arr_0", {"descr": np.lib.format.dtype_to_descr(self.dtype), "shape": (self.count, *self.shape)},
                   iter(lambda: self.rows.read(1 << 24), b""))
        self.rows.close()
        for name, array in (("arr_1", None if labels is None else np.array(labels, "<i8")),
                            ("recipe", np.array(recipe.encode()))):
            if array is not None:
                self.write(name, np.lib.format.header_data_from_array_1_0(array), [array.tobytes()])
        self.file.close()


def end_with_parent():
    """Else a worker whose parent was killed waits for images for ever."""
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def in_order(pool, jobs, most):
    """What work makes of each; pool.map alone reads all of them first, however slowly the results are taken."""
    jobs = iter(jobs)
    batches = iter(lambda: list(itertools.islice(jobs, BATCH)), [])
    begun = (pool.map(work, batch, chunksize=BATCH) for batch in batches)
    try:
        waiting = collections.deque(itertools.islice(begun, most // BATCH))
        while waiting:
            yield from waiting.popleft()
            waiting.extend(itertools.islice(begun, 1))
    except futures.process.BrokenProcessPool:
        raise OSError("one of the --workers was killed, by the system where memory ran out: fewer of them need less"
                      ) from None


def say(text):
    print(f"prepare_images: {text}", file=sys.stderr)


def prepare(options):
    source = Source(options.source)
    for name in source.left_out:
        say(f"left out: {name}: no image, going by its name")
    function = clean_floats if options.recipe == "clean" and options.out.endswith(".npz") else options.function
    notes, kept, damaged = collections.Counter(), [], 0
    jobs = ((source.try_to_read(name), function, options.size) for name in source.names)
    with (replacing(options.out) as draft,
          futures.ProcessPoolExecutor(options.workers, initializer=end_with_parent) as pool):
        out = (Npz if options.out.endswith(".npz") else Zip)(draft, len(source.names))
        done = map(work, jobs) if options.workers == 1 else in_order(pool, jobs, AHEAD * options.workers)
        for i, (pixels, about) in enumerate(done):
            if isinstance(about, OSError):
                raise about
            if isinstance(about, MemoryError):
                raise OSError(f"{source.path}: {source.names[i]}: not enough memory: fewer --workers need less")
            if pixels is None and not options.skip_damaged:
                raise Refusal(f"{source.path}: {source.names[i]}: {about} (--skip-damaged leaves such images out)")
            if pixels is None:
                say(f"left out: {source.names[i]}: {about}")
                damaged += 1
                continue
            notes.update(about)
            kept.append(i)
            out.add(pixels)
        if not kept:
            raise Refusal(f"{source.path}: none of its {len(source.names)} images can be used")
        labels = source.labels_of(kept)
        out.end(labels, options.name)
    for note, count in sorted(notes.items()):
        say(f"{count} images: {note}")
    classes = f", {len(set(labels))} classes" if labels else ", no labels"
    print(f"{options.out}: {len(kept)} images by {options.name}{classes}; left out: {len(source.left_out)} files that "
          f"are no images, {damaged} images that can't be used")


def whole(text):
    if not re.fullmatch("[1-9][0-9]{0,4}", text):
        raise argparse.ArgumentTypeError(f"expected a whole number in 1..99999, found {text}")
    return int(text)


def main(arguments=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("--recipe", required=True, metavar="RECIPE", help="see above")
    parser.add_argument("--size", type=whole, metavar="PIXELS", help="of center-bicubic and clean")
    parser.add_argument("--skip-damaged", action="store_true", help="leave out images that can't be used")
    parser.add_argument("--workers", type=whole, default=os.cpu_count(), metavar="N",
                        help="processes (one a processor)")
    parser.add_argument("--force", action="store_true", help="replace OUT")
    options = parser.parse_args(arguments)
    named = re.fullmatch(r"(adm|edm)-([1-9][0-9]{0,4})", options.recipe)
    if named and options.size is None:
        options.recipe, options.size = named[1], int(named[2])
    elif options.recipe in ("center-bicubic", "clean"):
        options.size = options.size or (299 if options.recipe == "clean" else None)
        if not options.size:
            parser.error(f"--recipe {options.recipe}: expected --size PIXELS beside it")
    else:
        parser.error(f"--recipe: expected adm-SIZE, edm-SIZE, center-bicubic or clean, found {options.recipe}"
                     + (" with --size" if named else ""))
    options.function, options.name = RECIPES[options.recipe], f"{options.recipe}-{options.size}"
    if not options.out.endswith((".zip", ".npz")):
        parser.error(f"OUT: expected a name that ends in .zip or .npz, found {options.out}")
    if os.path.exists(options.out) and not options.force:
        parser.error(f"{options.out} is there already: say --force to replace it")
    call("prepare_images", PACKAGES, parser, prepare, options)


if __name__ == "__main__":
    main()
