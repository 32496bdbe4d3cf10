"""Reads what qtaylor made, in Python: a file to copy beside your own. It needs numpy and zstandard (or Python 3.14).

    from qtaylor import Run, Dataset, results
    run = Run("runs/digits")
    run.samples()            # as they are stored: uint8 [N,H,W,C], or float32 or float16 [N,C,H,W]
    run.samples([5, 7])      # of these seeds
    run.features("pool")     # float32 [N,D]; "NETWORK/pool" where several networks have a pool
    run.latents()            # float32 or float16 [N,C,H,W], where the job keeps them
    run.seeds, run.labels, run.rows, run.metrics
    for part in run.parts(): part.seeds, part.samples          # a shard at a time: no more of them in memory
    torch.utils.data.DataLoader(Dataset(run), 64)              # (picture, label), floats [C,H,W] in the model's range
    results("runs/sweep")    # a pandas.DataFrame, one row a cell
    cells("runs/sweep")      # {"solver=ddim,nfe=5": Run, ...}

Everything comes in the order of the job's seeds, and every file is verified as it is read (its digest, the seeds in it
and the job that made it). A run of which samples are missing is an error that names them; Run(path, partial=True) takes
those that are there, warns of the others, and has them in `absent`."""
import collections
import hashlib
import importlib
import io
import json
import operator
import pathlib
import struct
import warnings

try:
    import numpy as np
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(f"{missing}: qtaylor.py needs numpy and zstandard: pip install numpy zstandard",
                              name=missing.name) from None

FORMAT = 1
MAGIC_JSON, MAGIC_TABLE, MAGIC_FOOTER = 0x184D2A57, 0x184D2A5E, 0x8F92EAB1


class Error(Exception):
    """What is wrong, with the file or folder that it is about."""


class Incomplete(Error):
    """Samples are missing. absent: [{"shard", "seeds", "samples", "reason"}]."""

    def __init__(self, message, absent):
        super().__init__(message)
        self.absent = absent


def _decompress(frame):
    for name in ("zstandard", "compression.zstd", "backports.zstd", "pyzstd"):
        try:
            return importlib.import_module(name).decompress(frame)
        except ImportError:
            continue
    raise Error("reading shards needs the package zstandard: pip install zstandard")


def _seed_ranges(text):
    """"0-255,300" -> [(0, 256), (300, 1)]: the first of each range and how many."""
    pairs = [entry.strip().partition("-") for entry in str(text).split(",")]
    return [(int(first), int(last or first) - int(first) + 1) for first, _, last in pairs]


def _seeds(text):
    ranges = _seed_ranges(text)
    kind = np.int64 if all(first + count <= 2**63 for first, count in ranges) else np.uint64
    return np.concatenate([np.arange(count, dtype=kind) + kind(first) for first, count in ranges])


def _text_of(seeds):
    """The other way: "0-255,300"."""
    runs = np.split(seeds, np.flatnonzero(np.diff(seeds) != 1) + 1)
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _read_json(path, *keys):
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or any(key not in found for key in keys):
            raise ValueError(f"expected an object with {', '.join(keys) or 'members'}")
        return found
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise Error(f"{path}: {error}") from None


class Shard:
    """One file: zstd frames of an .npy header and of its rows, then a JSON frame and a seek table (docs/formats.md)."""

    def __init__(self, path):
        """Verified: its bytes and its JSON are those that were written."""
        self.path = path
        try:
            data = path.read_bytes()
        except OSError as error:
            raise Error(f"{path}: {error}") from None
        try:
            entries, flags, magic = struct.unpack("<IBI", data[-9:])
            end = len(data) - 8 * entries - 17
            head = struct.unpack("<II", data[end:end + 8])
            sizes = np.frombuffer(data[end + 8:-9], "<u4").reshape(entries, 2).astype(np.int64)
            self.places = np.concatenate([[0], np.cumsum(sizes[:-1, 0])])
            self.data, about, self.sizes = data[:self.places[-1]], data[self.places[-1]:end], sizes[:-1, 1]
            good = (magic, flags, *head) == (MAGIC_FOOTER, 0, MAGIC_TABLE, 8 * entries + 9) and sizes[-1, 1] == 0
            good = good and sizes[:, 0].sum() == end and struct.unpack("<II", about[:8]) == (MAGIC_JSON, len(about) - 8)
        except (ValueError, IndexError, struct.error):
            good = False
        if not good:
            raise self.damaged("cut short, or no shard")
        check = hashlib.sha256(self.data)
        check.update(b"{" + about[84:])  # the JSON is compact and sorted: "check" is its first, and not of the text
        if about[8:84] != f'{{"check":"{check.hexdigest()}",'.encode():
            raise self.damaged("its bytes are not those that were written")
        self.about = json.loads(about[8:])
        header = io.BytesIO(self.unpack(0))
        np.lib.format.read_magic(header)
        self.shape, _, self.dtype = np.lib.format.read_array_header_1_0(header)
        row = self.dtype.itemsize * int(np.prod(self.shape[1:]))
        self.ends = np.cumsum(self.sizes[1:]) // row  # of each frame's rows
        if self.sizes[1:].sum() != row * self.shape[0]:
            raise self.damaged("its frames do not hold what its header announces")

    def damaged(self, how):
        return Error(f"{self.path} is damaged ({how}): run the job again, which makes it anew")

    def unpack(self, k, file=None):
        """Frame k; file: read anew from there, where the bytes were let go."""
        a, b = int(self.places[k]), int(self.places[k + 1])
        if file:
            file.seek(a)
        try:
            raw = _decompress(file.read(b - a) if file else self.data[a:b])
        except Error:
            raise
        except Exception as error:
            raise self.damaged(str(error)) from None
        if len(raw) != self.sizes[k]:
            raise self.damaged("a frame is of another size than its seek table says")
        return raw

    def array(self):
        """All rows, verified."""
        raw = b"".join(self.unpack(k) for k in range(len(self.sizes)))
        if hashlib.sha256(raw).hexdigest() != self.about["sha256"]:
            raise self.damaged("its digest is another one")
        return np.frombuffer(raw[128:], self.dtype).reshape(self.shape)

    def frame(self, row):
        """The rows that lie in one zstd frame with this one (guarded by its checksum), and which is the first."""
        k = int(np.searchsorted(self.ends, row, "right"))
        with open(self.path, "rb") as file:
            raw = self.unpack(k + 1, file)
        return np.frombuffer(raw, self.dtype).reshape(-1, *self.shape[1:]), int(self.ends[k - 1]) if k else 0


Part = collections.namedtuple("Part", "seeds labels rows samples")


class Run:
    """A folder that `qtaylor run` wrote, or a cell of a sweep's. partial: without what is missing, with a warning."""

    def __init__(self, path, partial=False):
        self.path = pathlib.Path(path)
        try:
            self.document = _read_json(self.path / "run.json")
        except (FileNotFoundError, NotADirectoryError):
            if (self.path / "sweep.json").exists():
                names = ", ".join(list(cells(self.path, _names=True))[:5])
                raise Error(f"{path} is a sweep: open one of its cells, Run(\"{path}/CELL\") with CELL of {names}, "
                            "..., or all by cells(path)") from None
            raise Error(f"{path} is no run: it has no run.json") from None
        if self.document.get("format") != FORMAT:
            raise Error(f"{path}/run.json: expected format {FORMAT}, found {self.document.get('format')}: take the "
                        "qtaylor.py of the version that made it")
        self.job, self.card = self.document["job"], self.document["card"]
        self.fingerprint, self.shard_rows = self.document["fingerprint"], self.document["shard_rows"]
        stopped = self.document.get("stopped", {})  # by evaluate.until or a race: of so many samples then
        self._all = _seeds(self.job["seeds"])[:stopped.get("samples")]
        self._shards, self.absent = self._find("samples")
        if self.absent and not partial:
            raise Incomplete(f"{self._say(self.absent)}: run the job again, or say partial=True", self.absent)
        if self.absent:
            warnings.warn(self._say(self.absent), stacklevel=2)
        self._position = None

    def __len__(self):
        return sum(len(self._slice(k)) for k in self._shards)

    def __repr__(self):
        return f"<qtaylor.Run {self.path}: {len(self)} of {len(self._all)} samples>"

    def _slice(self, shard):
        return self._all[shard * self.shard_rows:(shard + 1) * self.shard_rows]

    def _file(self, folder, shard):
        return self.path / folder / f"{shard:06d}.npy.zst"

    def _find(self, folder):
        """The numbers of the shards that are there, and of the others what is known."""
        count = -(-len(self._all) // self.shard_rows)
        there = [k for k in range(count) if self._file(folder, k).exists()]
        if len(there) == count:
            return there, []
        path = self.path / "quarantine.json"
        left_out = _read_json(path, "shards")["shards"] if path.exists() else []
        left_out = {one["shard"]: one["reason"] for one in left_out}
        absent = []
        for k in sorted(set(range(count)) - set(there)):
            seeds = self._slice(k)
            reason = f"quarantined: {left_out[k]}" if k in left_out else "not made yet"
            absent.append({"shard": k, "seeds": _text_of(seeds), "samples": len(seeds), "reason": reason})
        return there, absent

    def _say(self, absent):
        one = absent[0]
        more = f", and {len(absent) - 1} more shards" if len(absent) > 1 else ""
        return (f"{self.path}: {sum(one['samples'] for one in absent)} of {len(self._all)} samples are missing: seeds "
                f"{one['seeds']} ({one['reason']}){more}")

    def _open(self, folder, shard):
        """The file, which is of this place, these seeds and this job."""
        file = Shard(self._file(folder, shard))
        about, seeds = file.about, self._slice(shard)
        ours = folder == "latents" or about["fingerprint"] == self.fingerprint
        if not ours or about["shard"] != shard or not np.array_equal(_seeds(about["seeds"]), seeds):
            raise Error(f"{file.path} is not of this run: another job's, or of other seeds; `qtaylor verify "
                        f"{self.path}` says which")
        return file

    def _each(self, folder):
        """The files that go with the samples."""
        for k in self._shards:
            if not self._file(folder, k).exists():
                raise Incomplete(f"{self._file(folder, k)} is missing: run the job again, or `qtaylor evaluate "
                                 f"{self.path}` where it is one of features", self._find(folder)[1])
            yield k, self._open(folder, k)

    def _rows(self, folder, seeds):
        seeds = None if seeds is None else list(seeds)
        if not self._shards and not seeds:
            raise Incomplete(f"{self.path}: there are no samples yet", self.absent)
        if seeds is None:
            return np.concatenate([file.array() for _, file in self._each(folder)])
        wanted = collections.defaultdict(list)  # by shard, as each is read once
        for i, seed in enumerate(seeds):
            position = self._place(seed)
            wanted[position // self.shard_rows].append((i, position % self.shard_rows))
        out = None
        for k, rows in sorted(wanted.items()) or [(self._shards[0], [])]:  # of no seeds: no rows of its shape
            array = self._open(folder, k).array()
            out = np.empty((len(seeds), *array.shape[1:]), array.dtype) if out is None else out
            to, of = np.array(rows, int).reshape(-1, 2).T
            out[to] = array[of]
        return out

    def _place(self, seed):
        """Position in the list of seeds of one that is there."""
        if self._position is None:
            self._position = {int(seed): i for i, seed in enumerate(self._all)}
        try:
            position = None if isinstance(seed, bool) else self._position.get(operator.index(seed))
        except TypeError:
            position = None
        if position is None:
            raise KeyError(f"{self.path}: the job has no seed {seed}, but {self.job['seeds']}")
        if position // self.shard_rows not in self._shards:
            absent = [one for one in self.absent if one["shard"] == position // self.shard_rows]
            raise Incomplete(self._say(absent), absent)
        return position

    def samples(self, seeds=None):
        return self._rows("samples", seeds)

    def latents(self, seeds=None):
        if not (self.path / "latents").is_dir():
            raise Error(f"{self.path} keeps no latents: its job would have to say output.latents: true")
        return self._rows("latents", seeds)

    def feature_names(self):
        """["NETWORK/OUTPUT", ...]: NETWORK is the first 12 digits of the network's sha256."""
        return sorted(str(path.relative_to(self.path / "features")) for path in (self.path / "features").glob("*/*"))

    def features(self, name="pool", seeds=None):
        names = self.feature_names()
        found = [one for one in names if name in (one, one.partition("/")[2])]
        if len(found) != 1:
            raise Error(f"{self.path}: expected the name of one kind of features, found {name}: it has "
                        f"{', '.join(names) or 'none, as no job evaluated it'}")
        return self._rows(f"features/{found[0]}", seeds)

    def parts(self):
        """Shard by shard: Part(seeds, labels, rows, samples)."""
        for k, file in self._each("samples"):
            yield Part(self._slice(k), *(None if file.about.get(key) is None else np.array(file.about[key], np.int64)
                                         for key in ("labels", "rows")), file.array())

    def _listed(self, key):
        lists = [file.about.get(key) for _, file in self._each("samples")]
        return None if not lists or lists[0] is None else np.concatenate([np.array(one, np.int64) for one in lists])

    @property
    def seeds(self):
        return np.concatenate([self._all[:0], *(self._slice(k) for k in self._shards)])

    @property
    def labels(self):
        """int64 [N]; None where the model has no classes."""
        return self._listed("labels")

    @property
    def rows(self):
        """int64 [N], which row of the job's conditions each sample got; None where there are none."""
        return self._listed("rows")

    @property
    def digest(self):
        """sha256 over the shards' digests: equal for equal sets of samples (payload_sha256 of metrics.json)."""
        return hashlib.sha256("".join(file.about["sha256"] for _, file in self._each("samples")).encode()).hexdigest()

    @property
    def metrics(self):
        path = self.path / "metrics.json"
        values = _read_json(path, "metrics")["metrics"] if path.exists() else None
        if values is None:
            raise Error(f"{self.path} has no metrics: `qtaylor evaluate {self.path}` makes them, where the job has an "
                        "evaluate block and no sample is missing")
        return values


def cells(path, partial=False, _names=False):
    """The cells of a sweep by name. Cells whose samples are the same are one Run."""
    path = pathlib.Path(path)
    try:
        listed = _read_json(path / "sweep.json", "cells")["cells"]
    except (FileNotFoundError, NotADirectoryError):
        raise Error(f"{path} is no sweep: it has no sweep.json") from None
    homes = {one["cell"]: one.get("same_as") or one["cell"] for one in listed}
    if _names:
        return homes
    runs = {name: Run(path / name, partial) for name in dict.fromkeys(homes.values())}
    return {name: runs[home] for name, home in homes.items()}


def results(path):
    """One row a cell of a sweep (its results.json), or the one row of a run's metrics."""
    import pandas
    path = pathlib.Path(path)
    if (path / "sweep.json").exists():
        if not (path / "results.json").exists():
            raise Error(f"{path} has no results.json: run the sweep again, which writes it of what is evaluated")
        table = _read_json(path / "results.json", "cells", "columns")
        return pandas.DataFrame(table["cells"], columns=table["columns"])
    return pandas.json_normalize([{"run": str(path), **Run(path).metrics}])


def _make_dataset():
    import torch

    class Dataset(torch.utils.data.Dataset):
        """(picture, label) of a run: float32 [C,H,W], a uint8 sample from 0..255 to the model's range, as training
        has it; label -1 where there are no classes. transform: what is done to the picture. A shard is verified when
        the first of its pictures is asked for; the others are read then, guarded by the checksum of their frame."""

        def __init__(self, run, transform=None, partial=False):
            self.run = run if isinstance(run, Run) else Run(run, partial)
            self.transform, self.open, self.last = transform, {}, None

        def __len__(self):
            return len(self.run)

        def __getitem__(self, index):
            index = range(len(self))[index]
            k, row = self.run._shards[index // self.run.shard_rows], index % self.run.shard_rows
            if k not in self.open:
                self.open[k] = self.run._open("samples", k)
                self.open[k].data = None  # let go of: a frame is read anew
            file = self.open[k]
            if not (self.last and self.last[0] == k and self.last[1] <= row < self.last[1] + len(self.last[2])):
                rows, first = file.frame(row)
                self.last = k, first, rows
            sample = self.last[2][row - self.last[1]]
            if sample.dtype == np.uint8:
                low, high = self.run.card["range"]
                sample = sample.transpose(2, 0, 1).astype(np.float32) / 255 * (high - low) + low
            picture = torch.from_numpy(np.array(sample, np.float32))
            label = -1 if file.about.get("labels") is None else file.about["labels"][row]
            return self.transform(picture) if self.transform else picture, label

    Dataset.__module__, Dataset.__qualname__ = __name__, "Dataset"  # a worker process finds it by its name
    return Dataset


def __getattr__(name):
    if name != "Dataset":
        raise AttributeError(f"module {__name__} has no {name}")
    globals()[name] = _make_dataset()  # only now is torch needed
    return globals()[name]
