"""Digital numbers -> reflectance: offset, quantification and no data, as a product's metadata give them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Scaling"]


@dataclass(frozen=True, slots=True)
class Scaling:
    """What makes reflectance of the numbers of a band: (number + offset) / quantification."""

    offset: float
    """BOA_ADD_OFFSET or RADIO_ADD_OFFSET of the band; 0 in products that have none."""
    quantification: float
    """BOA_QUANTIFICATION_VALUE or QUANTIFICATION_VALUE."""
    quantity: str
    """What results: surface or top-of-atmosphere reflectance."""
    nodata: int = 0
    """The number that stands for no data, and becomes NaN."""

    def apply(self, numbers: NDArray[Any]) -> NDArray[np.float32]:
        """Return the reflectance of numbers as float32; where offsets are subtracted, dark pixels may be negative."""
        reflectance = (numbers.astype(np.float32) + np.float32(self.offset)) / np.float32(self.quantification)
        reflectance[numbers == self.nodata] = np.nan
        return reflectance

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes of an array of numbers: under names that no reader applies by itself."""
        return {"radiometric_offset": self.offset, "quantification_value": self.quantification}

    @property
    def formula(self) -> str:
        """What `apply` does, in words."""
        sign = "-" if self.offset < 0 else "+"
        shifted = f"(number {sign} {abs(self.offset):.12g})" if self.offset else "number"
        return f"{shifted} / {self.quantification:.12g}; NaN where the number is {self.nodata}"

    @property
    def scaled_attributes(self) -> dict[str, Any]:
        """The attributes of an array of reflectance: what was done, and nothing that could be done again."""
        return {"long_name": self.quantity, "units": "1", "scaling": self.formula}
