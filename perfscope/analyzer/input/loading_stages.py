"""The stages of loading a sample, by the frames of stack samples inside fetches.

A frame of a library shows the stage where its file does: a decoder, a search of folders, a lock.
Code without such a frame is the program's own.
"""

import re
from typing import Final

from perfscope.analyzer.budget.observed_budget import FETCH_FILE
from perfscope.traces.frames import Frame, parse_frame

LOCK: Final = "lock"
SEARCH: Final = "search"
OPEN: Final = "open"
READ: Final = "read"
DECODE: Final = "decode"
TRANSFORM: Final = "transform"
COLLATE: Final = "collate"
CODE: Final = "code"

STAGE_TEXT: Final[dict[str, str]] = {
    LOCK: "waiting for a lock",
    SEARCH: "searching folders",
    OPEN: "opening files",
    READ: "reading",
    DECODE: "decoding",
    TRANSFORM: "transforming",
    COLLATE: "collating",
    CODE: "other code of the dataset",
}
"""Every stage with the words for it."""

TORCH_COLLATE: Final = "torch/utils/data/_utils/collate.py"
WORKER_LOOP: Final = "_worker_loop (torch/utils/data/_utils/worker.py"
PER_CALL_FILES: Final = (
    "torch/utils/data/",
    "torch/_tensor.py",
    "torch/functional.py",
    "pandas/core/",
    "numpy/",
    "polars/",
    "collections/",
    "datasets/arrow_dataset.py",
    "datasets/formatting/",
    "datasets/table.py",
)
"""How the files begin whose functions index data in memory, or stack samples: their time per call
does not depend on how much data a call takes, or little.
"""

LIBRARY_STAGES: Final = (
    (
        LOCK,
        r"(__enter__|acquire|wait|_callmethod) \((multiprocessing/(synchronize|managers)|filelock/"
        r"|portalocker/|fasteners/)",
    ),
    (
        SEARCH,
        r"\((glob|fnmatch|_pathlib_glob)\.py|(glob|rglob|iterdir|walk|scandir|_scandir|select_from"
        r"|_select_from|_iterate_directories|exists|is_file|is_dir|stat|resolve) \(pathlib[./]"
        r"|(walk|_walk|fwalk) \(os\.py|\(genericpath\.py",
    ),
    (
        DECODE,
        r"\(PIL/(ImageFile|\w+ImagePlugin)\.py|\(torchvision/io/|\(torchcodec/|\(imageio/"
        r"|\(skimage/io/|\(cv2/|\(simplejpeg|\(turbojpeg|\(tifffile/|\(imagecodecs|\(openslide/"
        r"|\(pydicom/|\(nibabel/|\(decord/|\(av/|\(soundfile\.py|\(torchaudio/(backend|_backend|io)"
        r"|\(librosa/core/audio|\(audioread/|\(numcodecs/|\(blosc|\(zstandard/|\(lz4/"
        r"|\((gzip|bz2|lzma|_compression)\.py|\(compression/|\(webdataset/autodecode"
        r"|\(datasets/features/(image|audio|video)\.py",
    ),
    (
        OPEN,
        r"(open|__init__|_RealGetContents) \((pathlib|zipfile|tarfile|h5py/_hl/files)[./]",
    ),
    (
        READ,
        r"\(numpy/lib/(_?npyio|_?format)|\(torch/serialization\.py|\(h5py/|\(tarfile\.py"
        r"|\(zipfile[./]|\(pandas/io/|\(pyarrow/|\(fsspec/|\(s3fs/|\(gcsfs/|\(boto3/|\(botocore/"
        r"|\(requests/|\(urllib3/|\(urllib/|\(http/client|\(aiohttp/|\(ssl\.py|\(socket\.py"
        r"|\(zarr/|\(lmdb/|\(sqlite3/|\(csv\.py|(read_text|read_bytes) \(pathlib",
    ),
)
"""What shows a stage in a label `function (file:line)`; the innermost label with one counts."""
PATTERNS: Final = tuple((stage, re.compile(pattern)) for stage, pattern in LIBRARY_STAGES)
TRANSFORMS: Final = re.compile(
    r"\((torchvision/transforms|torchvision/tv_tensors|albumentations/|kornia/|audiomentations/"
    r"|torchaudio/|PIL/|scipy/|skimage/|librosa/|numpy/|transformers/|tokenizers/|sentencepiece/"
    r"|nltk/|spacy/|re\.py|re/|json/|torch/(?!utils/data/))"
)
"""Libraries that compute with what was read."""
DECODING_FUNCTION: Final = re.compile(
    r"(^|[._])(imread|decode_?(image|images|jpe?g|png|audio|video|frames?|pixels|mp3|wav|flac))$"
)
"""Names of the program's own functions that decode."""
DECODER_LIBRARY: Final = re.compile(
    r"lib(turbo)?jpeg|libpng|libwebp|libtiff|libopenjp2|libheif|libavif|libdav1d|libaom"
    r"|libavcodec|libswscale|libsndfile|libFLAC|libvorbis|libopus|libmp3lame|libmpg123"
    r"|libopencv_imgcodecs|libz[.-]|libz_ng|libzstd|liblz4|liblzma|libbz2|libbrotli|libblosc"
    r"|libisal|libdeflate|libnvjpeg|libtorchcodec|^image\.(abi3\.)?so|"
    r"^_?(imaging|webp|zlib|bz2|lzma|blosc)\.|^cv2\.|^_simplejpeg|^jpeg8"
)
"""Files of native code that decode or decompress."""
JPEG: Final = re.compile(r"jpe?g", re.IGNORECASE)


def frames_below_fetch(stack: str) -> tuple[Frame, ...] | None:
    """Return the frames that a fetcher of torch calls, outermost first; None outside of fetches."""
    labels = stack.split(";")
    places = [number for number, label in enumerate(labels) if FETCH_FILE in label]
    if not places:
        return None
    return tuple(parse_frame(label) for label in labels[places[-1] + 1 :])


def frames_of_start(stack: str) -> tuple[Frame, ...] | None:
    """Return the frames that a worker of torch's loader calls outside of fetches; None elsewhere.

    They are of its `worker_init_fn`, or wait for indices.
    """
    labels = stack.split(";")
    places = [number for number, label in enumerate(labels) if label.startswith(WORKER_LOOP)]
    if not places or FETCH_FILE in stack:
        return None
    return tuple(parse_frame(label) for label in labels[places[-1] + 1 :])


def stage_of(frames: tuple[Frame, ...]) -> str:
    """Return the stage of a stack inside a fetch, by its frames below the fetcher."""
    if any(frame.file.startswith(TORCH_COLLATE) for frame in frames):
        return COLLATE
    for frame in reversed(frames):
        if frame.is_of_program:
            if DECODING_FUNCTION.search(frame.function):
                return DECODE
            continue
        label = f"{frame.function} ({frame.file}"
        stage = next((stage for stage, pattern in PATTERNS if pattern.search(label)), None)
        if stage is not None:
            return stage
    if any(TRANSFORMS.search(f"({frame.file}") for frame in frames):
        return TRANSFORM
    return CODE


def is_decoder(library: str) -> bool:
    """Return whether a file of native code decodes or decompresses."""
    return DECODER_LIBRARY.search(library) is not None
