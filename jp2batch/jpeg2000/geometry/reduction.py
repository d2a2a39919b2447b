"""SIZ of an image without its highest resolution levels (T.800 A.5.1, B.5)."""

from dataclasses import replace

from jp2batch.jpeg2000.geometry.grid import image_area
from jp2batch.jpeg2000.syntax.markers import Siz


def reduced_siz(siz: Siz, rlevel: int) -> Siz | None:
    """Return SIZ without the `rlevel` highest levels; None if impossible."""
    step = 1 << rlevel
    if any(value % step for value in (siz.xtsiz, siz.ytsiz, siz.xtosiz, siz.ytosiz)):
        return None
    image = image_area(siz).scaled(step, step)
    xtsiz, ytsiz, xtosiz, ytosiz = (v // step for v in (siz.xtsiz, siz.ytsiz, siz.xtosiz, siz.ytosiz))
    if image.empty or image.x0 >= xtosiz + xtsiz or image.y0 >= ytosiz + ytsiz:  # the first tile would be empty
        return None
    return replace(
        siz,
        xsiz=image.x1,
        ysiz=image.y1,
        xosiz=image.x0,
        yosiz=image.y0,
        xtsiz=xtsiz,
        ytsiz=ytsiz,
        xtosiz=xtosiz,
        ytosiz=ytosiz,
    )
