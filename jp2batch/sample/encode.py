"""Encode JPEG 2000 for sample products and tests, by OpenJPEG through glymur.

The package is for reading; but demonstrations and tests need images, coded as ESA does or otherwise by T.800. `Coding`
has the parameters, in the words of the standard; `encode` turns an array into the bytes of a file. The bytes depend on
the pixels, the coding and the library, never on the time or the folder.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jp2batch.core.errors import EncodingError
from jp2batch.image.openjpeg import binding
from jp2batch.image.openjpeg_callbacks import Messages
from jp2batch.sample.coding import ESA_60M, ORDERS, Coding, Progression, Size, check

_PRECINCTS, _SOP, _EPH = 1, 2, 4  # Scod, table A.13
_COMMENT = b"jp2batch"  # OpenJPEG would write its version, and the bytes would differ between versions


def encode(pixels: NDArray[np.generic], coding: Coding = ESA_60M, *, boxes: bytes = b"") -> bytes:
    """Encode an array as JPEG 2000.

    Parameters
    ----------
    pixels : ndarray of integers, shape (height, width) or (components, height, width)
        The samples on the reference grid. A subsampled component has only the samples on its own grid: columns at
        multiples of XRsiz and rows at multiples of YRsiz, counted with the image offset.
    coding : Coding
        Coding parameters.
    boxes : bytes
        JP2 boxes to insert before the codestream's box, for instance a GMLJP2 association.

    Returns
    -------
    bytes
        A JP2 file whose last box extends to the end (LBox = 0), as in ESA's files; or only the codestream.

    Raises
    ------
    EncodingError
        A sample exceeds the precision, or OpenJPEG refuses; the message has its reason.
    """
    planes = pixels if pixels.ndim == 3 else pixels[np.newaxis]
    check(planes, coding)
    with TemporaryDirectory(prefix="jp2batch-") as folder:
        path = Path(folder, "image")
        _compress(planes, coding, path)
        coded = path.read_bytes()
    return coded if coding.raw else _with_boxes(coded, boxes)


def _compress(planes: NDArray[np.generic], coding: Coding, path: Path) -> None:
    """Write the file with OpenJPEG."""
    lib = binding()
    messages = Messages(lib)
    image = _image(lib, planes, coding)
    codec = lib.create_compress(lib.CODEC_J2K if coding.raw else lib.CODEC_JP2)
    stream = lib.stream_create_default_file_stream(str(path), False)
    try:
        messages.attach(codec)
        lib.setup_encoder(codec, _parameters(lib, coding, len(planes)), image)
        lib.encoder_set_extra_options(codec, plt=coding.plt, tlm=coding.tlm)
        lib.start_compress(codec, image, stream)
        lib.encode(codec, stream)
        lib.end_compress(codec, stream)
    except lib.OpenJPEGLibraryError:
        raise EncodingError("", f"OpenJPEG cannot code it: {messages.summary()}", "change the coding") from None
    finally:
        lib.stream_destroy(stream)
        lib.destroy_codec(codec)
        lib.image_destroy(image)


def _image(lib: Any, planes: NDArray[np.generic], coding: Coding) -> Any:
    """Create OpenJPEG's image of the samples."""
    x0, y0 = coding.image_offset
    components = list(_components(planes, coding))
    parameters = (lib.ImageComptParmType * len(components))()
    for parameter, ((dx, dy), samples) in zip(parameters, components, strict=True):
        parameter.dx, parameter.dy = dx, dy
        parameter.x0, parameter.y0 = -(-x0 // dx), -(-y0 // dy)  # B-12
        parameter.h, parameter.w = samples.shape
        parameter.prec = parameter.bpp = coding.bits
        parameter.sgnd = coding.signed
    image = lib.image_create(parameters, lib.CLRSPC_GRAY if len(planes) < 3 else lib.CLRSPC_SRGB)
    if not image:
        raise EncodingError("", f"OpenJPEG has no memory for {planes.shape} samples", "make it smaller")
    image.contents.x0, image.contents.y0 = x0, y0
    image.contents.x1, image.contents.y1 = x0 + planes.shape[2], y0 + planes.shape[1]
    for index, (_, samples) in enumerate(components):
        np.ctypeslib.as_array(image.contents.comps[index].data, shape=samples.shape)[...] = samples
    return image


def _components(planes: NDArray[np.generic], coding: Coding) -> Iterator[tuple[Size, NDArray[np.generic]]]:
    """Iterate over subsampling and subsampled samples of each component."""
    x0, y0 = coding.image_offset
    for (dx, dy), plane in zip(coding.subsampling or [(1, 1)] * len(planes), planes, strict=True):
        yield (dx, dy), plane[-y0 % dy :: dy, -x0 % dx :: dx]


def _parameters(lib: Any, coding: Coding, components: int) -> Any:
    """Return the coding as OpenJPEG's parameters."""
    parameters = lib.set_default_encoder_parameters()
    parameters.cp_comment = _COMMENT
    parameters.cp_tx0, parameters.cp_ty0 = coding.tile_offset
    if coding.tile is not None:
        parameters.tile_size_on = 1
        parameters.cp_tdx, parameters.cp_tdy = coding.tile
    parameters.numresolution = coding.levels + 1
    parameters.cblockw_init, parameters.cblockh_init = coding.code_block
    parameters.irreversible = not coding.reversible
    parameters.tcp_mct = coding.mct and components >= 3
    parameters.mode = coding.style
    parameters.prog_order = ORDERS.index(coding.progression)
    parameters.csty = _SOP * coding.sop | _EPH * coding.eph
    if coding.tile_parts:
        parameters.tp_on, parameters.tp_flag = 1, ord(coding.tile_parts)
    _set_layers(parameters, coding)
    _set_precincts(parameters, coding)
    _set_changes(parameters, coding.changes)
    return parameters


def _set_layers(parameters: Any, coding: Coding) -> None:
    parameters.cp_disto_alloc = 1
    parameters.tcp_numlayers = coding.layers
    halves = (2.0 ** (coding.layers - index) for index in range(coding.layers - 1))  # …, 8, 4
    for index, ratio in enumerate(coding.rates or (*halves, 1)):
        parameters.tcp_rates[index] = 0 if ratio == 1 else ratio  # 0: the rest


def _set_precincts(parameters: Any, coding: Coding) -> None:
    if coding.precincts is None:
        return
    parameters.csty |= _PRECINCTS
    sizes = _each_resolution(coding.precincts, coding.levels + 1)
    parameters.res_spec = len(sizes)
    for index, (width, height) in enumerate(sizes):
        parameters.prcw_init[index], parameters.prch_init[index] = width, height


def _each_resolution(precincts: Size | tuple[Size, ...], resolutions: int) -> list[Size]:
    sizes = [size for size in precincts if isinstance(size, tuple)]
    if not precincts or len(sizes) > 33:
        raise EncodingError("", f"{len(sizes)} sizes of precincts", "give one, or one for each resolution")
    # A size for all resolutions is repeated: OpenJPEG would halve it for each lower resolution.
    return sizes or [(int(precincts[0]), int(precincts[1]))] * resolutions  # type: ignore[arg-type]


def _set_changes(parameters: Any, changes: tuple[Progression, ...]) -> None:
    parameters.numpocs = len(changes)
    for target, change in zip(parameters.poc, changes, strict=False):
        target.tile = 1  # the first tile, as OpenJPEG counts
        target.prg1 = ORDERS.index(change.order)
        target.layno1 = parameters.tcp_numlayers
        target.resno0, target.resno1 = change.resolutions
        target.compno0, target.compno1 = change.components


def _with_boxes(jp2: bytes, boxes: bytes) -> bytes:
    """Insert boxes before the codestream's box, and set its LBox to 0."""
    position = 0
    while jp2[position + 4 : position + 8] != b"jp2c":
        (length,) = struct.unpack_from(">I", jp2, position)
        position += length
    return jp2[:position] + boxes + struct.pack(">I", 0) + jp2[position + 4 :]
